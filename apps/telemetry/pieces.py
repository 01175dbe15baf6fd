"""Which rows answer a question about a range of time: pure decisions, no I/O.

A range is [start, end) in aware UTC. It is cut into pieces, each read from the coarsest
level that holds it exactly: local days, hours, minutes, and readings for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple

Level = Literal["1d", "1h", "1m", "raw"]
Stretch = tuple[datetime, datetime]

FIXED_S = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600}
CALENDAR = ("6h", "1d", "1w", "1mo")
# Coarsest last, with about how long one is.
LENGTHS_S = {**FIXED_S, "6h": 21_600, "1d": 86_400, "1w": 604_800, "1mo": 2_629_800}
AUTO_POINTS = 1_000  # more than a screen has columns

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class Piece(NamedTuple):
    level: Level
    start: datetime
    end: datetime


def choose_interval(start: datetime, end: datetime) -> str:
    """Return the finest interval that has at most 1,000 points in the range."""
    seconds = (end - start).total_seconds()
    for interval, length in LENGTHS_S.items():
        if seconds <= AUTO_POINTS * length:
            return interval
    return "1mo"


def before(moment: datetime, length: timedelta) -> datetime:
    """Return the moment that much earlier, but not before the calendar begins."""
    try:
        return moment - length
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def day_start(day: date, zone: tzinfo) -> datetime:
    """Return the first instant of a local day, in UTC.

    Where midnight comes twice it is the first one; where it is skipped (a change of
    clocks at midnight) it is the instant of the change: `fold=0` says both.
    """
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def day_of(moment: datetime, zone: tzinfo) -> date:
    return moment.astimezone(zone).date()


def edges(
    interval: str, start: datetime, end: datetime, zone: tzinfo
) -> list[datetime]:
    """Return the starts of the calendar intervals that meet [start, end), and one more.

    The first is at or before `start`, the last at or after `end`; strictly rising.
    """
    found: list[datetime] = []
    day = _interval_start(interval, day_of(start, zone))
    while not found or found[-1] < end:
        for hour in (0, 6, 12, 18) if interval == "6h" else (0,):
            local = datetime.combine(day, time(hour), zone)
            edge = local.astimezone(UTC)
            if not found or edge > found[-1]:  # Samoa had no 30 December 2011
                found.append(edge)
        day = _next_interval(interval, day)
    first = max(i for i, edge in enumerate(found) if edge <= start or i == 0)
    last = next(i for i, edge in enumerate(found) if edge >= end)
    return found[first : max(last, first + 1) + 1]


def _interval_start(interval: str, day: date) -> date:
    if interval == "1w":
        return day - timedelta(days=day.weekday())  # Monday, ISO 8601
    return day.replace(day=1) if interval == "1mo" else day


def _next_interval(interval: str, day: date) -> date:
    if interval == "1mo":
        return (day + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if interval == "1w" else 1)


def levels_for(
    interval: str, starts: Sequence[datetime], *, has_days: bool
) -> tuple[Level, ...]:
    """Return the levels whose rows lie wholly within one interval, coarsest first.

    Args:
        interval: one of LENGTHS_S, or "all".
        starts: the starts of the calendar intervals; empty for the others.
        has_days: whether the stored days are those of the question's zone.
    """
    if interval in FIXED_S:
        return ("1h", "1m", "raw") if interval == "1h" else ("1m", "raw")
    days: tuple[Level, ...] = ("1d",) if has_days and interval != "6h" else ()
    # India's midnight is at 18:30 UTC: an hour there belongs to two days.
    if any(edge.minute or edge.second for edge in starts):
        return (*days, "1m", "raw")
    return (*days, "1h", "1m", "raw")


def cut(
    start: datetime,
    end: datetime,
    *,
    levels: Sequence[Level],
    zone: tzinfo,
    unrolled: Iterable[Stretch] = (),
    kept_from: Mapping[Level, datetime] | None = None,
) -> list[Piece]:
    """Cut a range into pieces in the order of time, each instant in one piece at most.

    Args:
        start: inclusive.
        end: exclusive.
        levels: those that may be used, coarsest first, "raw" last.
        zone: whose days the level 1d holds.
        unrolled: stretches in which only the readings are up to date.
        kept_from: where a level begins (retention). What no level holds any more is
            left out: half a minute whose readings are gone.
    """
    pieces: list[Piece] = []
    for since, until, is_rolled in _split(start, end, unrolled):
        if is_rolled:
            pieces += _coarsest(since, until, levels, zone)
        else:
            pieces.append(Piece("raw", since, until))
    floors = kept_from or {}
    clipped = [
        piece._replace(start=max(piece.start, floors.get(piece.level, piece.start)))
        for piece in pieces
    ]
    return [piece for piece in clipped if piece.start < piece.end]


def _split(
    start: datetime, end: datetime, unrolled: Iterable[Stretch]
) -> list[tuple[datetime, datetime, bool]]:
    """Return (start, end, is rolled up) in the order of time."""
    parts: list[tuple[datetime, datetime, bool]] = []
    at = start
    for stretch in sorted(unrolled):
        since, until = max(stretch[0], at), min(stretch[1], end)
        if since >= until:
            continue
        if at < since:
            parts.append((at, since, True))
        parts.append((since, until, False))
        at = until
    if at < end:
        parts.append((at, end, True))
    return parts


def _coarsest(
    start: datetime, end: datetime, levels: Sequence[Level], zone: tzinfo
) -> list[Piece]:
    level, *finer = levels
    if level == "raw":
        return [Piece("raw", start, end)] if start < end else []
    first = floor(start, level, zone)
    if first < start:
        first = _after(first, level, zone)
    last = floor(end, level, zone)
    if first >= last:
        return _coarsest(start, end, finer, zone)
    return [
        *_coarsest(start, first, finer, zone),
        Piece(level, first, last),
        *_coarsest(last, end, finer, zone),
    ]


def floor(moment: datetime, level: Level, zone: tzinfo) -> datetime:
    """Return the start of the day, hour or minute that holds this moment."""
    if level == "1d":
        return day_start(day_of(moment, zone), zone)
    if level == "1h":
        return moment.replace(minute=0, second=0, microsecond=0)
    return moment.replace(second=0, microsecond=0)


def _after(first: datetime, level: Level, zone: tzinfo) -> datetime:
    if level == "1d":
        return day_start(day_of(first, zone) + _DAY, zone)
    return first + (_HOUR if level == "1h" else _MINUTE)


def runs(minutes: Iterable[int], *, most: int) -> list[Stretch]:
    """Join minutes (since 1970) into stretches, at most `most` of them.

    More are joined over the gaps between them: within hours, then days, then all.
    """
    known = set(minutes)
    found: list[Stretch] = []
    for width in (1, 60, 1_440):
        found = _joined({minute - minute % width for minute in known}, width)
        if len(found) <= most:
            return found
    return [(found[0][0], found[-1][1])]


def _joined(starts: Iterable[int], width: int) -> list[Stretch]:
    found: list[list[int]] = []
    for start in sorted(starts):
        if found and start == found[-1][1]:
            found[-1][1] += width
        else:
            found.append([start, start + width])
    return [(moment_of(first), moment_of(last)) for first, last in found]


def moment_of(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)
