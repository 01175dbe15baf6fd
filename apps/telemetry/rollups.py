"""Rollups of the readings: a minute, an hour, a local day of the site.

What has to be computed is told by `mark_due`, in the transaction that stores readings;
`run` computes those minutes from the readings, their hours from the minutes, their days
from the hours. So live, late, replayed and imported readings all go one way.

Readings are only added, and leave by retention alone. A bucket is therefore replaced
only by one that counts more readings: what retention has taken from the readings stays
in the rollups, and computing one again changes nothing.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from apps.core.prepared import Prepared
from apps.telemetry import partitions, rollup_days, rollup_sql
from apps.telemetry.pieces import Stretch, moment_of, runs
from apps.telemetry.rollup_tables import DAYS, HOURS, MINUTES, Bucket, compute
from apps.telemetry.storing import Row

MINUTE_US = 60_000_000

_MINUTE_BITS = 26  # minutes since 1970 until the year 2097; 38 bits for the sensor
_MINUTE = (1 << _MINUTE_BITS) - 1
_LOCK_KEY = 7_201_190_320  # chosen at random, ours alone
_PAIR_BYTES = 8
_CHUNK_BYTES = 50_000 * _PAIR_BYTES  # of a transaction: about 3 s
_CHUNK_BATCHES = 2_000
_LOOKED_THROUGH = 100_000 * _PAIR_BYTES  # by a question: 15 ms
_MOST_STRETCHES = 100  # pieces of a question: each costs a scan of its own
_STATEMENT_S = 60  # a chunk of unusually dense readings may take its time

Pair = tuple[int, int]  # sensor, minute since 1970


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run did; `lag_s` is the age of the oldest batch still due, 0 if none."""

    minutes: int = 0
    lag_s: float = 0.0


def mark_due(rows: Sequence[Row]) -> None:
    """Note that the minutes of these readings are to be rolled up.

    Call it in the transaction that inserts the readings; rows may repeat.
    """
    if not rows:
        return
    pairs = {row[0] << _MINUTE_BITS | row[1] // MINUTE_US for row in rows}
    oldest = min([row[1] for row in rows]) // MINUTE_US
    with connection.cursor() as cursor:
        _DUE.execute(cursor, [oldest, array("q", pairs).tobytes()])


_DUE = Prepared(
    "rollup_due",
    "INSERT INTO telemetry_rollup_due (oldest_minute, pairs) "
    "VALUES (%s::int, %s::bytea)",
)


def run(*, limit_s: float = 10.0) -> Progress:
    """Roll up what is due, for about that long; call it again for the rest.

    One run at a time, in any process: another one leaves the work to the first.
    """
    until = time.monotonic() + limit_s
    minutes = 0
    while time.monotonic() < until:
        done = _run_chunk()
        if not done:
            break
        minutes += done
    while time.monotonic() < until and _rezone_chunk():
        pass
    return Progress(minutes, lag())


def lag() -> float:
    """Return the age in seconds of the oldest batch that is not rolled up; 0: none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp() - min(made_at)) "
            "FROM telemetry_rollup_due"
        )
        row = cursor.fetchone()
    return 0.0 if row is None or row[0] is None else max(float(row[0]), 0.001)


def _run_chunk() -> int:
    """Roll up some batches; return their number of minutes, 0 when there are none."""
    with transaction.atomic():
        if not _lock():
            return 0
        pairs = _take()
        _roll_up(pairs)
    return len(pairs)


def _rezone_chunk() -> int:
    with transaction.atomic():
        return rollup_days.rezone() if _lock() else 0


def _lock() -> bool:
    """Be the only one until the transaction ends.

    An hour is computed from its minutes: two that computed different minutes of it at
    once would each miss the other's.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = %s", [f"{_STATEMENT_S}s"])
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK_KEY])
        [is_ours] = cursor.fetchone() or [False]
    return bool(is_ours)


_TAKE = """
DELETE FROM telemetry_rollup_due WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(length(pairs)) OVER (ORDER BY id) - length(pairs) AS before
        FROM (SELECT id, pairs FROM telemetry_rollup_due ORDER BY id LIMIT %s) oldest
    ) sized WHERE before < %s
) RETURNING pairs
"""


def _take() -> list[Pair]:
    """Take the oldest batches; their readings are committed, ours to see."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [_CHUNK_BATCHES, _CHUNK_BYTES])
        return sorted(_unpack(row[0] for row in cursor.fetchall()))


def _unpack(blobs: Iterable[memoryview]) -> set[Pair]:
    packed = array("q")
    packed.frombytes(b"".join(blobs))
    return {(pair >> _MINUTE_BITS, pair & _MINUTE) for pair in packed}


def _roll_up(pairs: Sequence[Pair]) -> None:
    if not pairs:
        return
    MINUTES.ensure({moment_of(minute).date() for _, minute in pairs})
    compute(
        MINUTES.table,
        "telemetry_reading",
        [Bucket(sensor, minute * 60, minute * 60 + 60) for sensor, minute in pairs],
    )
    roll_hours({(sensor, minute // 60) for sensor, minute in pairs})
    rollup_days.roll_days({(sensor, minute // 15) for sensor, minute in pairs})


def roll_hours(hours: Iterable[tuple[int, int]]) -> None:
    """Compute these hours, (sensor, hour since 1970), from their minutes."""
    buckets = [Bucket(s, hour * 3600, hour * 3600 + 3600) for s, hour in sorted(hours)]
    HOURS.ensure({moment_of(bucket.since_s // 60).date() for bucket in buckets})
    compute(HOURS.table, MINUTES.table, buckets)


def rebuild_days(sensor_ids: Sequence[int]) -> None:
    """Compute all days of some sensors anew, in their site's zone."""
    with transaction.atomic():
        _lock_patiently()
        rollup_days.rebuild(sensor_ids)


def _lock_patiently() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL lock_timeout = 0")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])


def fill(start: datetime, end: datetime) -> None:
    """Compute all minutes and hours of a range of whole hours, of all sensors.

    For many readings at once; the days are `rebuild_days`'s.
    """
    days = {start.date() + timedelta(days=n) for n in range((end - start).days + 1)}
    MINUTES.ensure(days)
    HOURS.ensure(days)
    with transaction.atomic(), connection.cursor() as cursor:
        _lock_patiently()
        cursor.execute(
            rollup_sql.all_buckets(MINUTES.table, "telemetry_reading", "1 minute"),
            [start, end],
        )
        cursor.execute(
            rollup_sql.all_buckets(HOURS.table, MINUTES.table, "1 hour"), [start, end]
        )


def unrolled(sensor_ids: Iterable[int], *, before: datetime) -> list[Stretch]:
    """Return the stretches before a time in which rollups of these sensors are old."""
    minute = int(before.timestamp()) // 60
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(oldest_minute), sum(length(pairs)) FROM telemetry_rollup_due "
            "WHERE oldest_minute < %s",
            [minute],
        )
        oldest, size = cursor.fetchone() or (None, None)
        if oldest is None or size is None:
            return []
        if size > _LOOKED_THROUGH:  # after an outage: all since then is old
            return [(moment_of(oldest), before)]
        cursor.execute(
            "SELECT pairs FROM telemetry_rollup_due WHERE oldest_minute < %s", [minute]
        )
        pairs = _unpack(row[0] for row in cursor.fetchall())
    wanted = set(sensor_ids)
    return runs(
        (m for sensor, m in pairs if sensor in wanted and m < minute),
        most=_MOST_STRETCHES,
    )


def is_due_before(moment: datetime) -> bool:
    """Return whether readings before this time still wait to be rolled up."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM telemetry_rollup_due WHERE oldest_minute < %s)",
            [int(moment.timestamp()) // 60],
        )
        [found] = cursor.fetchone() or [False]
    return bool(found)


def drop_expired() -> list[str]:
    """Drop the rollups that are wholly older than their retention; return which."""
    rollup_days.forget_deleted()
    today = partitions.today()
    minutes = today - timedelta(days=settings.ROLLUP_1M_RETENTION_DAYS)
    others = today - timedelta(days=settings.ROLLUP_RETENTION_DAYS)
    return [
        table.name_of(day)
        for table, oldest in (
            (MINUTES, minutes),
            (HOURS, others),
            (DAYS, others),
        )
        for day in table.drop_before(oldest)
    ]
