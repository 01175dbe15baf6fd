"""Readings as they were stored, over a range of time.

A range is [start, end) in aware UTC; None leaves that side open. Rows come in the order
of the table's key, so that a repeated question gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connection, transaction

from apps.devices.selectors import finite
from apps.telemetry.models import Reading

if TYPE_CHECKING:
    from django.db.models import QuerySet

CHUNK = 2_000  # rows fetched at a time: about 300 kB of memory, whatever the range
# A reader that stalls longer is cut off: its open transaction keeps old rows from
# being cleaned up and old partitions from being dropped.
STALL_LIMIT_S = 60

Value = float | str | None
# Sensor, time, then one value (a text reading's is its text) or a value a figure.
Line = tuple[int, datetime, tuple[Value, ...]]


@dataclass(frozen=True, slots=True)
class Range:
    sensor_ids: tuple[int, ...]
    start: datetime | None = None
    end: datetime | None = None


def count(span: Range) -> int:
    return _rows(span).count()


def head(span: Range, *, limit: int) -> list[Line]:
    """Return the oldest readings, at most `limit` of them."""
    rows = _rows(span).order_by("measured_at", "sensor_id", "value", "text")
    return [_line(*row) for row in rows.values_list(*_FIELDS)[:limit]]


def stream(span: Range) -> Iterator[list[Line]]:
    """Yield all readings in chunks, sensor by sensor, through a cursor on the server.

    The cursor lives in a transaction of its own and sees one snapshot; closing the
    generator closes both.
    """
    with long_reading():
        for sensor_id in span.sensor_ids:
            rows = _rows(Range((sensor_id,), span.start, span.end))
            rows = rows.order_by("measured_at", "value", "text")
            chunk = []
            for row in rows.values_list(*_FIELDS).iterator(chunk_size=CHUNK):
                chunk.append(_line(*row))
                if len(chunk) == CHUNK:
                    yield chunk
                    chunk = []
            if chunk:
                yield chunk


@contextmanager
def long_reading() -> Iterator[None]:
    """Be in a transaction that may take its time, but not stand still."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SET LOCAL idle_in_transaction_session_timeout = %s",
                [f"{STALL_LIMIT_S}s"],
            )
        yield


_FIELDS = ("sensor_id", "measured_at", "value", "text")


def _rows(span: Range) -> QuerySet[Reading]:
    if len(span.sensor_ids) == 1:  # PostgreSQL plans it better than a list of one
        rows = Reading.objects.filter(sensor_id=span.sensor_ids[0])
    else:
        rows = Reading.objects.filter(sensor_id__in=span.sensor_ids)
    if span.start is not None:
        rows = rows.filter(measured_at__gte=span.start)
    if span.end is not None:
        rows = rows.filter(measured_at__lt=span.end)
    return rows


def _line(sensor_id: int, at: datetime, value: float | None, text: str | None) -> Line:
    return sensor_id, at, (text if text is not None else finite(value),)
