"""Partitions by time: made ahead, made on demand, dropped when old.

Readings have one a UTC day. Days inside the window (retention back, two days ahead)
have a partition of their own; anything older lands in the default partition, where
retention deletes it by row. Since the window only moves forward, a day's partition
exists before its first reading and the default partition never holds a day that needs
one; raising the retention moves such rows when the partition is made. Rollups have one
a month or a year and no default (`apps.telemetry.rollups`).
"""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.utils import timezone

log = logging.getLogger(__name__)

DAYS_AHEAD = 2  # a device's clock may run 24 h ahead

# Dropping waits for every reader of the table, and every batch waits behind it: so it
# waits briefly, a few times, and else leaves it to the next hour.
_DROP_WAIT_MS = 200
_DROP_TRIES = 5
_DROP_PAUSE_S = 1.0

_FORMATS = {"day": "%Y%m%d", "month": "%Y%m", "year": "%Y"}


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table partitioned by time of UTC; `fill` is the partitions' fillfactor."""

    table: str
    unit: Literal["day", "month", "year"]
    column: str = "at"
    has_default: bool = False
    fill: int = 100

    def name_of(self, day: date) -> str:
        return f"{self.table}_{day.strftime(_FORMATS[self.unit])}"

    def first_of(self, day: date) -> date:
        """Return the first day of the partition that holds this day."""
        if self.unit == "day":
            return day
        return day.replace(day=1, month=day.month if self.unit == "month" else 1)

    def next_of(self, day: date) -> date:
        """Return the first day of the partition after the one that holds this day."""
        far = {"day": 1, "month": 31, "year": 366}[self.unit]
        return self.first_of(self.first_of(day) + timedelta(days=far))

    def existing(self) -> set[date]:
        """Return the first day of each partition."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
                "WHERE inhparent = %s::regclass",
                [self.table],
            )
            names = [row[0].removeprefix(f"{self.table}_") for row in cursor.fetchall()]
        return {
            datetime.strptime(name, _FORMATS[self.unit]).replace(tzinfo=UTC).date()
            for name in names
            if name.isdecimal()
        }

    def ensure(self, days: Iterable[date]) -> list[date]:
        """Make the partitions of these days where missing; return those made."""
        made = []
        for day in sorted({self.first_of(day) for day in days}):
            with transaction.atomic(), connection.cursor() as cursor:
                # One maker at a time, in any process.
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(7201, hashtext(%s))", [self.table]
                )
                cursor.execute("SELECT to_regclass(%s)", [self.name_of(day)])
                row = cursor.fetchone()
                if row and row[0] is None:
                    self._make(day)
                    made.append(day)
        return made

    def _make(self, day: date) -> None:
        self.make_alone(day)
        if self.has_default:
            self._move_from_default(day)
        self.attach(day)

    def make_alone(self, day: date) -> None:
        """Make the table of a partition, not yet one of the whole.

        A table of its own first, then ATTACH: that takes a lock under which rows are
        still read and written (CREATE … PARTITION OF would not).
        """
        name = connection.ops.quote_name(self.name_of(day))
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE {name} (LIKE {self.table} INCLUDING DEFAULTS) "
                f"WITH (fillfactor = {self.fill})"
            )

    def attach(self, day: date) -> None:
        name = connection.ops.quote_name(self.name_of(day))
        with connection.cursor() as cursor:
            cursor.execute(
                f"ALTER TABLE {self.table} ATTACH PARTITION {name} "
                f"FOR VALUES FROM (%s) TO (%s)",
                [midnight(self.first_of(day)), midnight(self.next_of(day))],
            )

    def _move_from_default(self, day: date) -> None:
        name = connection.ops.quote_name(self.name_of(day))
        with connection.cursor() as cursor:
            cursor.execute(
                f"WITH moved AS (DELETE FROM {self.table}_default "  # noqa: S608 (own names)
                f"WHERE {self.column} >= %s AND {self.column} < %s RETURNING *) "
                f"INSERT INTO {name} SELECT * FROM moved",
                [midnight(self.first_of(day)), midnight(self.next_of(day))],
            )

    def drop_before(self, day: date) -> list[date]:
        """Drop the partitions that end before or at the start of this day.

        Returns:
            The first day of each that is gone; one that is being read for long stays.
        """
        expired = sorted(d for d in self.existing() if self.next_of(d) <= day)
        return [day for day in expired if _drop(self.name_of(day))]


def _drop(name: str) -> bool:
    for attempt in range(_DROP_TRIES):
        if attempt:
            clock.sleep(_DROP_PAUSE_S)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = %s", [f"{_DROP_WAIT_MS}ms"])
                cursor.execute(f"DROP TABLE {connection.ops.quote_name(name)}")
        except OperationalError as error:
            if getattr(error.__cause__, "pgcode", None) != "55P03":  # lock_timeout
                raise
        else:
            return True
    log.warning("%s is being read and stays until the next housekeeping", name)
    return False


READINGS = Partitioned("telemetry_reading", "day", "measured_at", has_default=True)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def window(today: date) -> tuple[date, date]:
    """Return the first and the last day of readings with partitions of their own."""
    oldest = today - timedelta(days=settings.TELEMETRY_RETENTION_DAYS)
    return oldest, today + timedelta(days=DAYS_AHEAD)


def today() -> date:
    return timezone.now().astimezone(UTC).date()


def ensure(days: Iterable[date]) -> list[date]:
    """Make the readings' partitions of these days where missing; return those made."""
    return READINGS.ensure(days)


def ensure_ahead() -> list[date]:
    """Make the partitions of yesterday to two days ahead."""
    return ensure(today() + timedelta(days=n) for n in range(-1, DAYS_AHEAD + 1))


def drop_expired() -> list[date]:
    """Drop the readings' partitions that are wholly older than the retention.

    Returns:
        The days dropped. Rows older than that in the default partition go too.
    """
    oldest, _ = window(today())
    dropped = READINGS.drop_before(oldest)
    _empty_default(midnight(oldest))
    return dropped


def _empty_default(before: datetime) -> None:
    """Delete old rows in steps: an import may have left more than one statement can."""
    deleted = 1
    while deleted:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM telemetry_reading_default WHERE ctid = ANY(ARRAY("
                "SELECT ctid FROM telemetry_reading_default WHERE measured_at < %s "
                "LIMIT 100000))",
                [before],
            )
            deleted = cursor.rowcount
