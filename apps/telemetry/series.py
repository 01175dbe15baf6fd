"""A sensor's readings over a range of time: every one, or one figure for all.

A range is [start, end) in aware UTC; None leaves that side open. Rows come in the order
of the table's key, so that a repeated question gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import DataError, connection, transaction
from django.db.models import Avg, Count, Max, Min, Sum

from apps.core.errors import DomainError
from apps.devices.selectors import finite
from apps.telemetry.models import Reading

if TYPE_CHECKING:
    from django.db.models import Aggregate, QuerySet

CHUNK = 2_000  # rows fetched at a time: about 300 kB of memory, whatever the range
# A reader that stalls longer is cut off: its open transaction keeps old rows from
# being cleaned up and old partitions from being dropped.
STALL_LIMIT_S = 60

_FIGURES: dict[str, type[Aggregate]] = {"min": Min, "max": Max, "avg": Avg, "sum": Sum}


@dataclass(frozen=True, slots=True)
class Range:
    sensor_id: int
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time; the value of a text reading is its text."""

    at: datetime
    value: float | str | None


class FigureTooLargeError(DomainError):
    """The sum does not fit into a 64-bit float."""

    code = "figure_too_large"
    status = 422

    def __init__(self, agg: str) -> None:
        super().__init__(f"The {agg} of these readings is too large for a number")


def count(span: Range) -> int:
    return _rows(span).count()


def head(span: Range, *, limit: int) -> list[Point]:
    """Return the oldest readings, at most `limit` of them."""
    rows = _ordered(span)[:limit]
    return [_point(*row) for row in rows]


def stream(span: Range) -> Iterator[list[Point]]:
    """Yield all readings in chunks, through a cursor on the server.

    The cursor lives in a transaction of its own and sees one snapshot; closing the
    generator closes both.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SET LOCAL idle_in_transaction_session_timeout = %s",
                [f"{STALL_LIMIT_S}s"],
            )
        chunk = []
        for row in _ordered(span).iterator(chunk_size=CHUNK):
            chunk.append(_point(*row))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def overall(span: Range, agg: str) -> list[Point]:
    """Return one point for the whole range; none if there is no reading.

    `at` is the range's start, or the first reading's time if that side is open. Texts
    count for count, first and last; the other figures are None without a number.

    Raises:
        FigureTooLargeError: the sum overflows.
    """
    if agg in ("first", "last"):
        return _edge(span, newest=agg == "last")
    figure = _FIGURES[agg]("value") if agg != "count" else Count("*")
    try:
        found = _rows(span).aggregate(first_at=Min("measured_at"), figure=figure)
    except DataError as error:
        raise FigureTooLargeError(agg) from error
    if found["first_at"] is None:
        return []
    return [Point(span.start or found["first_at"], finite(found["figure"]))]


def _edge(span: Range, *, newest: bool) -> list[Point]:
    rows = _ordered(span)
    edge = list((rows.reverse() if newest else rows)[:1])
    if not edge:
        return []
    first_at = span.start or _rows(span).aggregate(at=Min("measured_at"))["at"]
    return [Point(first_at, _point(*edge[0]).value)]


def _rows(span: Range) -> QuerySet[Reading]:
    rows = Reading.objects.filter(sensor_id=span.sensor_id)
    if span.start is not None:
        rows = rows.filter(measured_at__gte=span.start)
    if span.end is not None:
        rows = rows.filter(measured_at__lt=span.end)
    return rows


def _ordered(
    span: Range,
) -> QuerySet[Reading, tuple[datetime, float | None, str | None]]:
    rows = _rows(span).order_by("measured_at", "value", "text")
    return rows.values_list("measured_at", "value", "text")


def _point(at: datetime, value: float | None, text: str | None) -> Point:
    return Point(at, text if text is not None else finite(value))
