"""Readings stored the way the ingest stores them, and what they must add up to."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from apps.devices.models import Datalogger, SensorDevice
from apps.sites.models import Site
from apps.telemetry import buckets, partitions
from apps.telemetry.buckets import FIGURES, Question
from apps.telemetry.pieces import CALENDAR, FIXED_S, edges
from apps.telemetry.rollups import mark_due
from apps.telemetry.storing import Row, insert_readings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Said = tuple[datetime, float | str]


def make_sensor(site: Site, key: str = "t_ext", number: str = "15") -> SensorDevice:
    datalogger, _ = Datalogger.objects.get_or_create(
        site=site, type="monstro", number=number
    )
    return SensorDevice.objects.create(datalogger=datalogger, key=key)


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def store(sensor: SensorDevice, readings: Iterable[Said]) -> None:
    """Store readings as a batch would."""
    rows: list[Row] = [
        (
            sensor.pk,
            us(at),
            us(at) + 1,
            None if isinstance(value, str) else float(value),
            value if isinstance(value, str) else None,
            0,
            place,
        )
        for place, (at, value) in enumerate(readings)
    ]
    oldest, _ = partitions.window(partitions.today())
    days = {(EPOCH + timedelta(microseconds=row[1])).date() for row in rows}
    partitions.ensure(day for day in days if day >= oldest)
    insert_readings(rows)
    mark_due(rows)


def asked(
    sensors: Iterable[SensorDevice], interval: str, **but: Any
) -> dict[tuple[int, datetime], tuple[Any, ...]]:
    """Return what `buckets` answers, by sensor and time, all figures."""
    ids = tuple(sensor.pk for sensor in sensors)
    question = Question(ids, interval, FIGURES, **but)
    lines, count = buckets.head(question, limit=100_000)
    assert count == len(lines)
    streamed = [line for chunk in buckets.stream(question) for line in chunk]
    assert sorted(streamed) == sorted(lines)
    return {(line[0], line[1]): line[2] for line in lines}


def expected(
    sensor: SensorDevice,
    readings: Iterable[Said],
    interval: str,
    *,
    zone: str = "UTC",
    start: datetime,
    end: datetime,
) -> dict[tuple[int, datetime], tuple[Any, ...]]:
    """Return what the answer must be, reckoned reading by reading."""
    inside = sorted(
        {r for r in readings if start <= r[0] < end},
        key=lambda r: (r[0], isinstance(r[1], str), r[1]),
    )
    starts = edges(interval, start, end, ZoneInfo(zone)) if interval in CALENDAR else []
    groups: dict[datetime, list[float | str]] = {}
    for at, value in inside:
        groups.setdefault(_bucket(at, interval, starts, start), []).append(value)
    return {(sensor.pk, at): _figures(values) for at, values in groups.items()}


def _bucket(
    at: datetime, interval: str, starts: list[datetime], start: datetime
) -> datetime:
    if interval == "all":
        return start
    if starts:
        return starts[bisect_right(starts, at) - 1]
    width = FIXED_S[interval]
    return EPOCH + timedelta(seconds=(at - EPOCH) // timedelta(seconds=width) * width)


def _figures(values: list[float | str]) -> tuple[Any, ...]:
    numbers = [value for value in values if not isinstance(value, str)]
    total = math.fsum(numbers) if numbers else None
    return (
        min(numbers, default=None),
        max(numbers, default=None),
        total / len(numbers) if total is not None else None,
        total,
        len(values),
        values[0],
        values[-1],
    )
