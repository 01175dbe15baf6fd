"""Day partitions of the readings: made ahead, made on demand, dropped when old.

Days inside the window (retention back, two days ahead) have a partition of their own;
anything older lands in the default partition, where retention deletes it by row. Since
the window only moves forward, a day's partition exists before its first reading and
the default partition never holds a day that needs one; raising the retention moves
such rows when the partition is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

PREFIX = "telemetry_reading_"
DAYS_AHEAD = 2  # a device's clock may run 24 h ahead

# One maker at a time, in any process: number chosen at random, ours alone.
_LOCK_KEY = 7_201_190_317


def name_of(day: date) -> str:
    return f"{PREFIX}{day:%Y%m%d}"


def window(today: date) -> tuple[date, date]:
    """Return the first and the last day that have partitions of their own."""
    oldest = today - timedelta(days=settings.TELEMETRY_RETENTION_DAYS)
    return oldest, today + timedelta(days=DAYS_AHEAD)


def existing() -> set[date]:
    """Return the days that have a partition."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
            "WHERE inhparent = 'telemetry_reading'::regclass"
        )
        names = [row[0].removeprefix(PREFIX) for row in cursor.fetchall()]
    return {
        datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).date()
        for name in names
        if name.isdecimal()
    }


def ensure(days: Iterable[date]) -> list[date]:
    """Make the partitions of these days where missing; return the ones made."""
    made = []
    for day in sorted(set(days)):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
            cursor.execute("SELECT to_regclass(%s)", [name_of(day)])
            row = cursor.fetchone()
            if row and row[0] is None:
                _make(day)
                made.append(day)
    return made


def _make(day: date) -> None:
    start = datetime.combine(day, time.min, UTC)
    end = start + timedelta(days=1)
    name = connection.ops.quote_name(name_of(day))
    with connection.cursor() as cursor:
        # A table of its own first, then ATTACH: that takes a lock under which
        # readings are still read and written (CREATE … PARTITION OF would not).
        cursor.execute(
            f"CREATE TABLE {name} (LIKE telemetry_reading INCLUDING DEFAULTS)"
        )
        cursor.execute(
            f"WITH moved AS (DELETE FROM {PREFIX}default "  # noqa: S608 (own names)
            f"WHERE measured_at >= %s AND measured_at < %s RETURNING *) "
            f"INSERT INTO {name} SELECT * FROM moved",
            [start, end],
        )
        cursor.execute(
            f"ALTER TABLE telemetry_reading ATTACH PARTITION {name} "
            f"FOR VALUES FROM (%s) TO (%s)",
            [start, end],
        )


def ensure_ahead() -> list[date]:
    """Make the partitions of yesterday to two days ahead."""
    today = timezone.now().astimezone(UTC).date()
    return ensure(today + timedelta(days=n) for n in range(-1, DAYS_AHEAD + 1))


def drop_expired() -> list[date]:
    """Drop the partitions that are wholly older than the retention.

    Returns:
        The days dropped. Rows older than that in the default partition go too.
    """
    oldest, _ = window(timezone.now().astimezone(UTC).date())
    expired = sorted(day for day in existing() if day < oldest)
    for day in expired:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {connection.ops.quote_name(name_of(day))}")
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {PREFIX}default WHERE measured_at < %s",  # noqa: S608
            [datetime.combine(oldest, time.min, UTC)],
        )
    return expired
