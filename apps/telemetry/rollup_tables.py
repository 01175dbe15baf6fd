"""The tables of the rollups, and the computing of given buckets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection

from apps.telemetry import rollup_sql, sqlarrays
from apps.telemetry.partitions import Partitioned

# Rows that are written again and again keep room on their page.
MINUTES = Partitioned("telemetry_rollup_1m", "month", fill=90)
HOURS = Partitioned("telemetry_rollup_1h", "year", fill=80)
DAYS = Partitioned("telemetry_rollup_1d", "year", fill=60)


class Bucket(NamedTuple):
    """A sensor's stretch of time, seconds since 1970."""

    sensor_id: int
    since_s: int
    until_s: int


def compute(target: str, source: str, buckets: Sequence[Bucket]) -> None:
    """Compute these buckets of `target` from the rows of `source`."""
    if not buckets:
        return
    sensors, since, until = zip(*buckets, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            rollup_sql.some_buckets(target, source),
            [
                sqlarrays.numbers(sensors),
                sqlarrays.numbers(since),
                sqlarrays.numbers(until),
                min(since),
                max(until),
            ],
        )
