"""Time limits on our side of the database: a frozen server holds a thread for seconds.

`statement_timeout` is the server's own, so a server that is stopped (SIGSTOP, a hung
disk, a silent network) never applies it, and psycopg2 waits in C for ever. So a thread
of its own looks at all that is limited here, and ends the connection of whoever
exceeds it: what waits there gets an OperationalError. The outcome of a COMMIT is then
unknown, as after any lost connection.

Connecting has a limit of its own, `connect_timeout` in the settings.

Not a wait callback of psycopg2: with one it sends every statement while it holds the
interpreter lock, and at 1,000 messages/s half of them took 17 ms instead of 14 until
their commit (November 2026).
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import psycopg2
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import Error as DatabaseError
from django.db.utils import OperationalError
from psycopg2 import extensions

# For what has no better one: the server's own limit (15 s) comes first.
ANSWER_S = 20.0
# Between two looks. A limit counts as exceeded when two of them found it so: a process
# that was frozen itself finds all of them exceeded, and perhaps all the answers there.
LOOK_EVERY_S = 0.25


class Limit:
    """When what a thread does with the database must be over; others may shorten it."""

    __slots__ = ("ends_at",)

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds

    def shorten(self, seconds: float) -> None:
        """Call from any thread."""
        self.ends_at = min(self.ends_at, time.monotonic() + seconds)


class Session(extensions.connection):
    """A connection that any thread may end; none is made for whose time is over.

    Django would make one to leave a transaction whose connection was ended, and with a
    frozen server that waits 5 s more. A worker told to end then left to the broker what
    it should have put on disk, in 2 of 15 tries (November 2026).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        if _is_time_over():
            message = "no connection under a limit that was exceeded"
            raise psycopg2.OperationalError(message)
        super().__init__(*arguments, **options)
        # A second descriptor, which only we close. libpq closes its own at a moment
        # unknown to us, and it may be another file's by then.
        self._socket = socket.socket(fileno=os.dup(self.fileno()))

    def end(self) -> None:
        """Have whoever waits for the server be told that it is gone."""
        with suppress(OSError):  # it is, or was closed
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        self._socket.close()


class _Block:
    """What one thread does under a limit, and the session that was ended for it."""

    __slots__ = ("database", "ended", "is_late", "limit")

    def __init__(self, limit: Limit, database: BaseDatabaseWrapper) -> None:
        self.limit = limit
        self.database = database
        self.is_late = False
        self.ended: Session | None = None

    def look(self, now: float) -> None:
        if now < self.limit.ends_at:
            return
        session = self.database.connection
        if self.is_late and session is not self.ended and isinstance(session, Session):
            self.ended = session  # first: who is told at once asks why
            session.end()
        self.is_late = True


_blocks: set[_Block] = set()
_lock = threading.Lock()  # who has left a block is ended no more


def _is_time_over() -> bool:
    """Return whether this thread is in a block that was ended."""
    database = connections["default"]
    with _lock:
        return any(b.ended is not None and b.database is database for b in _blocks)


@contextmanager
def limited(limit: Limit | float) -> Iterator[None]:
    """Limit all that this thread asks of Django's database in here, taken together.

    Nested ones: the one that ends first counts. Needs `install`, and a `Cutter`.

    Raises:
        OperationalError: the limit was exceeded; the connection is closed.
    """
    database = connections["default"]
    block = _Block(limit if isinstance(limit, Limit) else Limit(limit), database)
    with _lock:
        _blocks.add(block)
    try:
        yield
    except DatabaseError as error:
        if block.ended is None:
            raise
        message = "the database did not answer in time"
        raise OperationalError(message) from error
    finally:
        with _lock:
            _blocks.discard(block)
        if block.ended is not None and block.ended is database.connection:
            database.close()


def install() -> None:
    """Have the connections that this process makes from now on be `Session`s."""
    connections.settings["default"]["OPTIONS"]["connection_factory"] = Session


class Cutter:
    """Ends the sessions of those who exceed their limits; a thread of its own.

    A daemon that never ends: threads of the pool still wait for the database when
    everything else of the process is over.
    """

    def __init__(self) -> None:
        self.turns = 0  # read by the watchdog
        self._is_hurried = False

    def run(self) -> NoReturn:
        while True:
            time.sleep(LOOK_EVERY_S)
            self.turns += 1
            self.look()

    def hurry(self) -> None:
        """End who waits from now on: the process ends, whatever the database says."""
        self._is_hurried = True

    def look(self) -> None:
        now = math.inf if self._is_hurried else time.monotonic()
        with _lock:
            for block in _blocks:
                block.look(now)
