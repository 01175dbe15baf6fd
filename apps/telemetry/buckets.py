"""Figures of readings by interval: from the rollups, and what is newest from readings.

The newest five minutes and whatever waits to be rolled up are read from the readings
themselves: a value that was just stored is in the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.core.errors import DomainError
from apps.devices.selectors import finite
from apps.telemetry import partitions, rollup_days, rollup_sql, rollups
from apps.telemetry.pieces import (
    CALENDAR,
    FIXED_S,
    Piece,
    cut,
    edges,
    floor,
    levels_for,
)
from apps.telemetry.series import CHUNK, Line, Value, long_reading

FIGURES = ("min", "max", "avg", "sum", "count", "first", "last")
# Of what is newer, batches are on their way and rollups not yet.
TAIL = timedelta(minutes=5)
_AHEAD = timedelta(days=2)  # no reading is newer: a device's clock may run 24 h ahead
_LONG = timedelta(days=40)  # over that it is worth asking where the data begin
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # no reading is older

_TABLES = {
    "1d": "telemetry_rollup_1d",
    "1h": "telemetry_rollup_1h",
    "1m": "telemetry_rollup_1m",
}
_SUM = "CASE WHEN bool_or(numbers > 0 AND sum IS NULL) THEN NULL ELSE sum(sum) END"
_ORDER = "ORDER BY at, first, first_text"  # a raw piece may hold two at one time
_SQL_OF = {
    "min": "min(min)",
    "max": "max(max)",
    "sum": _SUM,
    "avg": f"{_SUM} / NULLIF(sum(numbers), 0)",
    "count": "sum(n)::bigint",
    "first": f"(array_agg(first {_ORDER}))[1]",
    "last": f"(array_agg(last {_ORDER}))[count(*)]",
    "first_text": f"(array_agg(first_text {_ORDER}))[1]",
    "last_text": f"(array_agg(last_text {_ORDER}))[count(*)]",
}
_TEXT_OF = {"first": "first_text", "last": "last_text"}


class FigureTooLargeError(DomainError):
    """The sum does not fit into a 64-bit float."""

    code = "figure_too_large"
    status = 422

    def __init__(self, agg: str) -> None:
        super().__init__(f"The {agg} of these readings is too large for a number")


@dataclass(frozen=True, slots=True)
class Question:
    """Which figures of which sensors, by which interval of which zone.

    `interval` is one of pieces.LENGTHS_S, or "all": one bucket for the whole range,
    whose time is the range's start, or its first bucket's if that side is open.
    """

    sensor_ids: tuple[int, ...]
    interval: str
    figures: tuple[str, ...]
    zone: str = "UTC"
    start: datetime | None = None
    end: datetime | None = None


def head(question: Question, *, limit: int) -> tuple[list[Line], int]:
    """Return the oldest buckets, at most `limit`, and how many there are.

    Raises:
        FigureTooLargeError: the one figure of interval=all overflows.
    """
    plan = _plan(question)
    if not plan.pieces:
        return [], 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"{plan.sql} {plan.rest} ORDER BY 2, 1 LIMIT %s",
            [*plan.parameters, limit + 1],
        )
        rows = cursor.fetchall()
        count = len(rows)
        if count > limit:
            cursor.execute(
                f"SELECT count(*) FROM ({plan.sql} {plan.rest}) AS buckets",  # noqa: S608
                plan.parameters,
            )
            [count] = cursor.fetchone() or [count]
    return plan.lines(rows[:limit]), count


def stream(question: Question) -> Iterator[list[Line]]:
    """Yield all buckets in chunks, sensor by sensor, through a cursor on the server."""
    with long_reading():
        plan = _plan(question)
        if not plan.pieces:
            return
        with connection.chunked_cursor() as cursor:
            cursor.execute(f"{plan.sql} {plan.rest} ORDER BY 1, 2", plan.parameters)
            while rows := cursor.fetchmany(CHUNK):
                yield plan.lines(rows)


@dataclass(frozen=True, slots=True)
class _Plan:
    question: Question
    pieces: list[Piece]
    starts: list[datetime]  # of calendar intervals
    sql: str
    rest: str
    parameters: list[Any]

    def lines(self, rows: Sequence[tuple[Any, ...]]) -> list[Line]:
        """Return sensor, start and figures of rows (sensor, bucket, numbers, …)."""
        starts, figures = self.starts, self.question.figures
        if self.question.interval == "all":
            self._check(rows)
        if not any(figure in _TEXT_OF for figure in figures):
            return [
                (row[0], starts[row[1] - 1] if starts else row[1], row[3:])
                for row in rows
            ]
        columns = _columns(figures)
        return [
            (
                row[0],
                starts[row[1] - 1] if starts else row[1],
                _picked(dict(zip(columns, row[3:], strict=True)), figures),
            )
            for row in rows
        ]

    def _check(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for place, figure in enumerate(self.question.figures, 3):
            if figure in ("sum", "avg") and any(
                r[2] and r[place] is None for r in rows
            ):
                raise FigureTooLargeError(figure)


def _columns(figures: Sequence[str]) -> list[str]:
    texts = [_TEXT_OF[figure] for figure in figures if figure in _TEXT_OF]
    return [*figures, *texts]


def _picked(values: dict[str, Any], figures: Sequence[str]) -> tuple[Value, ...]:
    """Return the figures; the first and last of readings may be texts or no numbers."""
    found: list[Value] = []
    for figure in figures:
        text = values.get(_TEXT_OF.get(figure, ""))
        found.append(text if text is not None else finite(values[figure]))
    return tuple(found)


def _plan(question: Question) -> _Plan:
    now = timezone.now().astimezone(UTC)
    tail = floor(now - TAIL, "1m", UTC)
    today = now.date()
    kept = partitions.midnight(partitions.window(today)[0])
    unrolled = [
        # Readings past their retention may be gone: there the rollups know more.
        (max(since, kept), until)
        for since, until in rollups.unrolled(question.sensor_ids, before=tail)
        if until > kept
    ]
    start, end = _bounds(question, now, min([tail, *(s for s, _ in unrolled)]))
    zones = set(rollup_days.zones(question.sensor_ids).values())
    zone = ZoneInfo(question.zone)
    starts = (
        edges(question.interval, start, end, zone)
        if question.interval in CALENDAR and start < end
        else []
    )
    if question.interval == "all":
        has_days = len(zones) == 1
        days_zone = ZoneInfo(next(iter(zones))) if has_days else zone
    else:
        has_days, days_zone = zones <= {question.zone}, zone
    pieces = cut(
        start,
        end,
        levels=levels_for(question.interval, starts, has_days=has_days),
        zone=days_zone,
        unrolled=[*unrolled, (tail, end)],
        kept_from={
            "raw": kept,
            "1m": partitions.midnight(
                today - timedelta(days=settings.ROLLUP_1M_RETENTION_DAYS)
            ),
        },
    )
    sql = _sql(question, pieces, starts) if pieces else ("", "", [])
    return _Plan(question, pieces, starts, *sql)


def _bounds(
    question: Question, now: datetime, rolled_until: datetime
) -> tuple[datetime, datetime]:
    """Return the range, narrowed to where there can be data."""
    end = max(min(question.end or now + _AHEAD, now + _AHEAD), _EPOCH)
    start = max(question.start or _EPOCH, _EPOCH)
    if end - start > _LONG:
        first = first_day(question.sensor_ids) or rolled_until
        start = max(start, min(first, rolled_until))
    return start.astimezone(UTC), end.astimezone(UTC)


def first_day(sensor_ids: tuple[int, ...]) -> datetime | None:
    """Return the start of the first day of which there are rollups."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(first.at) FROM unnest(%s::bigint[]) AS s(id) "
            "CROSS JOIN LATERAL (SELECT at FROM telemetry_rollup_1d d "
            "WHERE d.sensor_id = s.id ORDER BY at LIMIT 1) first",
            [list(sensor_ids)],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def _sql(
    question: Question, pieces: Sequence[Piece], starts: list[datetime]
) -> tuple[str, str, list[Any]]:
    """Return what is selected, from what, and the parameters of both."""
    figures = ", ".join(
        f"{_SQL_OF[name]} AS out_{name}" for name in _columns(question.figures)
    )
    bucket, before = _bucket(question, starts)
    parts, inside = [], []
    for piece in pieces:
        part, parameters = _select(question.sensor_ids, piece)
        parts.append(part)
        inside += parameters
    select = f"SELECT sensor_id, {bucket} AS bucket, sum(numbers), {figures}"
    by = "GROUP BY 1" if question.interval == "all" else "GROUP BY 1, 2"
    rest = f"FROM ({' UNION ALL '.join(parts)}) AS p {by}"
    return select, rest, [*before, *inside]


def _bucket(question: Question, starts: list[datetime]) -> tuple[str, list[Any]]:
    if question.interval == "all":
        if question.start is None:
            return "min(at)", []
        return "%s::timestamptz", [question.start]
    if starts:
        return "width_bucket(at, %s::timestamptz[])", [starts]
    return f"date_bin('{FIXED_S[question.interval]} s', at, 'epoch')", []


def _select(sensor_ids: tuple[int, ...], piece: Piece) -> tuple[str, list[Any]]:
    if piece.level == "raw":
        table, time = "telemetry_reading", "measured_at"
        columns = f"measured_at AS at, {rollup_sql.AS_FIGURES}"
    else:
        table, time = _TABLES[piece.level], "at"
        columns = "at, " + ", ".join(rollup_sql.COLUMNS)
    whose = "= %s" if len(sensor_ids) == 1 else "= ANY(%s)"
    ids: object = sensor_ids[0] if len(sensor_ids) == 1 else list(sensor_ids)
    return (
        f"(SELECT sensor_id, {columns} FROM {table} WHERE sensor_id {whose} "  # noqa: S608
        f"AND {time} >= %s AND {time} < %s)",
        [ids, piece.start, piece.end],
    )
