"""What the database knows of each worker's spool; see `SpoolMark`.

The number of a batch is set in the batch's own transaction and only ever grows. Whoever
tries a batch again, because the answer to its COMMIT never came, is told so by the
number. Setting it waits for a transaction of an earlier try that is still alive.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction

from apps.core.prepared import Prepared


class AlreadyWrittenError(Exception):
    """This very batch was committed by an earlier try."""


class Mark(NamedTuple):
    """How far a spool is: see the columns of `SpoolMark`."""

    live: int
    drained: int


# Nothing is changed; a database that is read-only refuses it all the same.
_PROBE = "UPDATE telemetry_spoolmark SET node = node WHERE false"
_OPEN = """
INSERT INTO telemetry_spoolmark AS m (id, node, waiting) VALUES (%s, %s, %s)
ON CONFLICT (id) DO UPDATE SET node = excluded.node, waiting = excluded.waiting,
    seen_at = now()
RETURNING live, drained
"""
# Upserts: a row that is missing (a database that was restored) must not look like one
# that is ahead.
_LIVE = Prepared(
    "live_mark",
    """
INSERT INTO telemetry_spoolmark AS m (id, node, live)
VALUES (%s::uuid, '', %s::bigint)
ON CONFLICT (id) DO UPDATE SET live = excluded.live WHERE m.live < excluded.live
""",
)
_DRAINED = Prepared(
    "drain_mark",
    """
INSERT INTO telemetry_spoolmark AS m (id, node, drained, waiting)
VALUES (%s::uuid, '', %s::bigint, %s::bigint)
ON CONFLICT (id) DO UPDATE SET drained = excluded.drained, waiting = excluded.waiting,
    seen_at = now() WHERE m.drained < excluded.drained
""",
)


def probe() -> None:
    """Ask the database whether it takes changes; raises `OperationalError` and kin."""
    with connection.cursor() as cursor:
        cursor.execute(_PROBE)


def open_mark(spool: UUID, node: str, waiting: int) -> Mark:
    """Return how far a spool is; waits for a batch of its that is still on its way."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_OPEN, [spool, node, waiting])
        return Mark(*cursor.fetchone())


def is_known(spool: UUID) -> bool:
    """Return whether this database has seen this spool: else it is not ours."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM telemetry_spoolmark WHERE id = %s", [spool])
        return cursor.fetchone() is not None


def forget(spool: UUID) -> None:
    """Call when the file is gone."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM telemetry_spoolmark WHERE id = %s", [spool])


class LiveMark(NamedTuple):
    """The number of a batch that goes into the database directly."""

    spool: UUID
    number: int

    def set(self) -> None:
        """Set it in the batch's transaction; raises `AlreadyWrittenError`."""
        _set(_LIVE, self)


class DrainMark(NamedTuple):
    """The last row of a batch that comes from the file."""

    spool: UUID
    through: int
    waiting: int  # rows left after it

    def set(self) -> None:
        """Set it in the batch's transaction; raises `AlreadyWrittenError`."""
        _set(_DRAINED, self)


def _set(statement: Prepared, values: tuple[UUID | int, ...]) -> None:
    with connection.cursor() as cursor:
        statement.execute(cursor, values)
        if cursor.rowcount != 1:
            raise AlreadyWrittenError
