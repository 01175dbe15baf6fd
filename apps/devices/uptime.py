"""How long a datalogger was there: online / (online + offline) over a window.

Unknown time counts neither way: our own link was down, or nobody had heard of it yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import F, Q

from apps.devices.models import Presence, PresencePeriod

if TYPE_CHECKING:
    from django.db.models import QuerySet

DAY = "24h"
MONTH = "month"
ROLLING = {DAY: timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
WINDOWS = (*ROLLING, MONTH)

# One SELECT a window and half: with its times as constants the planner knows how little
# it has to read, and an index finds "ended after" and "not ended" only one by one.
_PERIODS = """
SELECT %s AS place, datalogger_id, presence,
    LEAST(ended_at, %s) - GREATEST(started_at, %s) AS lasted
FROM devices_presenceperiod
WHERE datalogger_id = ANY(%s) AND started_at < %s AND {half}
"""
_HALVES = [
    _PERIODS.format(half="ended_at > %s"),
    _PERIODS.format(half="ended_at IS NULL"),
]
_SECONDS = """
SELECT place, datalogger_id,
    COALESCE(EXTRACT(epoch FROM SUM(lasted) FILTER (WHERE presence = 'online')), 0),
    COALESCE(EXTRACT(epoch FROM SUM(lasted) FILTER (WHERE presence = 'offline')), 0)
FROM ({periods}) p GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that is over; it may be empty."""

    name: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Uptime:
    """Seconds of a window; the three of them are the whole of it."""

    online_s: float
    offline_s: float
    unknown_s: float

    @property
    def percentage(self) -> float | None:
        """Return 0 to 100 with two decimals; None if nothing is known."""
        known_s = self.online_s + self.offline_s
        return round(self.online_s / known_s * 100, 2) if known_s > 0 else None


def window(
    name: str, *, now: datetime, zone: str, month: tuple[int, int] | None = None
) -> Window:
    """Return one of WINDOWS, as far as it is over.

    Args:
        name: of the window.
        now: its end, unless it ends sooner.
        zone: the site's, in which months begin.
        month: year and month; without it the current one.
    """
    if name in ROLLING:
        return Window(name, now - ROLLING[name], now)
    local = now.astimezone(ZoneInfo(zone))
    year, number = month or (local.year, local.month)
    start = _first_of(year, number, local.tzinfo)
    end = _first_of(year + number // 12, number % 12 + 1, local.tzinfo)
    return Window(name, start, max(start, min(end, now)))


def _first_of(year: int, month: int, zone: tzinfo | None) -> datetime:
    # In UTC: the difference of two times of one zone leaves out its change of clocks.
    return datetime(year, month, 1, tzinfo=zone).astimezone(UTC)


def uptimes(
    datalogger_ids: Sequence[int], windows: Sequence[Window]
) -> dict[int, list[Uptime]]:
    """Return by datalogger its uptime in each window, in their order: one query."""
    sql, values = _statement(datalogger_ids, windows)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found = {
            (row[1], row[0]): (float(row[2]), float(row[3]))
            for row in cursor.fetchall()
        }
    return {
        datalogger_id: [
            _uptime(each, *found.get((datalogger_id, place), (0.0, 0.0)))
            for place, each in enumerate(windows)
        ]
        for datalogger_id in datalogger_ids
    }


def _statement(
    datalogger_ids: Sequence[int], windows: Sequence[Window]
) -> tuple[str, list[Any]]:
    values: list[Any] = []
    for place, each in enumerate(windows):
        common = [place, each.until, each.since, list(datalogger_ids), each.until]
        values += [*common, each.since, *common]
    periods = " UNION ALL ".join(_HALVES * len(windows))
    return _SECONDS.format(periods=periods), values


def _uptime(each: Window, online_s: float, offline_s: float) -> Uptime:
    whole_s = (each.until - each.since).total_seconds()
    return Uptime(online_s, offline_s, max(0.0, whole_s - online_s - offline_s))


def uptime_percentages(
    datalogger_ids: Sequence[int], *, now: datetime
) -> dict[int, float | None]:
    """Return the uptime of the last 24 h by datalogger; None if nothing is known."""
    found = uptimes(datalogger_ids, [window(DAY, now=now, zone="UTC")])
    return {key: each.percentage for key, [each] in found.items()}


def outages(datalogger_id: int, within: Window) -> QuerySet[PresencePeriod]:
    """Return the times offline that reach into the window, newest first."""
    return periods(datalogger_id, within.since, within.until).filter(
        presence=Presence.OFFLINE
    )


def periods(
    datalogger_id: int, since: datetime, until: datetime
) -> QuerySet[PresencePeriod]:
    """Return the periods that reach into this time, newest first."""
    return (
        PresencePeriod.objects.filter(
            Q(ended_at=None) | Q(ended_at__gt=since),
            datalogger_id=datalogger_id,
            started_at__lt=until,
        )
        .exclude(ended_at=F("started_at"))  # it went and came within one batch
        .order_by("-started_at", "-id")
    )
