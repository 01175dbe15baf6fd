"""What a chart is asked to show, as its address says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from apps.web.moments import iso

SPANS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "1y": timedelta(days=365),
}
DEFAULT = "24h"
CUSTOM = "custom"
INTERVALS = ("auto", "raw", "1m", "15m", "1h", "1d")
FIGURES = ("avg", "min", "max", "sum", "count", "last")
_YEARS = range(1971, 9999)  # a zone may move the first and the last one out of bounds


@dataclass(frozen=True, slots=True)
class Wish:
    """A range that ends now, or one of two times; `interval` and `agg` as in the API.

    `start` and `end` are aware UTC, and None unless `span` is CUSTOM.
    """

    span: str
    start: datetime | None
    end: datetime | None
    interval: str
    agg: str

    def csv_query(self, *, now: datetime) -> str:
        """Return the parameters of the API that give the same as a file."""
        start = self.start or now - SPANS[self.span]
        given = {"from": iso(start), "to": iso(self.end)}
        given |= {"interval": self.interval, "agg": self.agg, "format": "csv"}
        return urlencode({name: text for name, text in given.items() if text})


def wish_of(query: Mapping[str, str], *, zone: str, default: str = DEFAULT) -> Wish:
    """Read an address; what it does not say, or says wrongly, is the default.

    Args:
        query: `range`, `from`, `to`, `interval`, `agg`.
        zone: the site's, of times without an offset.
        default: one of SPANS.
    """
    interval, agg = query.get("interval", ""), query.get("agg", "")
    interval = interval if interval in INTERVALS else INTERVALS[0]
    agg = agg if agg in FIGURES else FIGURES[0]
    span = query.get("range", "")
    if span == CUSTOM:
        start, end = (_moment(query.get(name, ""), zone) for name in ("from", "to"))
        if start and end and start < end:
            return Wish(CUSTOM, start, end, interval, agg)
    return Wish(span if span in SPANS else default, None, None, interval, agg)


def first_span(age: timedelta) -> str:
    """Return the range to begin with: of a new device a day would be an empty chart."""
    short = ("15m", "1h")
    return next((name for name in short if age <= SPANS[name]), DEFAULT)


def _moment(text: str, zone: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:  # the 30th of February
        return None
    if moment is None or moment.year not in _YEARS:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone or "UTC"))
    return moment.astimezone(UTC)


def local_text(moment: datetime | None, zone: str) -> str:
    """Return the moment as `<input type=datetime-local>` wants it."""
    if moment is None:
        return ""
    local = moment.astimezone(ZoneInfo(zone or "UTC")).replace(tzinfo=None)
    return local.isoformat(timespec="seconds")


def span_names() -> list[tuple[str, str, str]]:
    """Return of each range its name in the address, on the button, and spoken."""
    return [
        ("15m", _("15 min"), _("Last 15 minutes")),
        ("1h", _("1 h"), _("Last hour")),
        ("24h", _("24 h"), _("Last 24 hours")),
        ("7d", _("7 d"), _("Last 7 days")),
        ("30d", _("30 d"), _("Last 30 days")),
        ("1y", _("1 y"), _("Last year")),
    ]


def interval_names() -> dict[str, str]:
    """Return how each interval is called where people choose one."""
    return {
        "auto": _("automatic"),
        "raw": _("every reading"),
        "1m": _("1 minute"),
        "5m": _("5 minutes"),
        "15m": _("15 minutes"),
        "1h": _("1 hour"),
        "6h": _("6 hours"),
        "1d": _("1 day"),
        "1w": _("1 week"),
        "1mo": _("1 month"),
    }


def figure_names() -> dict[str, str]:
    return {
        "avg": _("average"),
        "min": _("lowest"),
        "max": _("highest"),
        "sum": _("sum"),
        "count": _("count"),
        "last": _("last"),
    }
