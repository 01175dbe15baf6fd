"""Time limits on our side of the database: a frozen server holds a thread for seconds.

`statement_timeout` is the server's own, so a server that is stopped (SIGSTOP, a hung
disk, a silent network) never applies it, and psycopg2 waits in C for ever. Here every
wait of this process goes through `poll()` with a deadline. Whoever exceeds it gets an
OperationalError, and psycopg2 closes the connection. The outcome of a COMMIT is then
unknown, as after any lost connection.

For the MQTT workers only: the callback is the whole process's.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import extensions

# An operation outside of any `limited`: the server's own limit (15 s) comes first.
DEFAULT_S = 20.0
SLICE_S = 0.25  # how soon a limit that another thread shortened is seen


class Limit:
    """When what a thread does with the database must be over; others may shorten it."""

    __slots__ = ("ends_at",)

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds

    def shorten(self, seconds: float) -> None:
        """Call from any thread."""
        self.ends_at = min(self.ends_at, time.monotonic() + seconds)


class _Current(threading.local):
    limit: Limit | None = None


_current = _Current()


def install() -> None:
    """Have every wait of this process's connections limited, from now on."""
    extensions.set_wait_callback(_wait)


@contextmanager
def limited(limit: Limit | float) -> Iterator[None]:
    """Limit all that this thread asks of the database in here, taken together.

    Nested ones: the one that ends first counts.
    """
    outer = _current.limit
    inner = limit if isinstance(limit, Limit) else Limit(limit)
    if outer is not None and outer.ends_at < inner.ends_at:
        inner = outer
    _current.limit = inner
    try:
        yield
    finally:
        _current.limit = outer


def _wait(connection: extensions.connection) -> None:
    """Wait until the connection's operation is over; psycopg2 calls it for each."""
    limit = _current.limit or Limit(DEFAULT_S)
    poller = None
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        events = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        if poller is None:
            poller = select.poll()
        # The descriptor may change while connecting: libpq tries several addresses.
        descriptor = connection.fileno()
        poller.register(descriptor, events)
        try:
            _wait_ready(poller, limit)
        finally:
            poller.unregister(descriptor)


def _wait_ready(poller: select.poll, limit: Limit) -> None:
    """Wait; look once more after the end, for we may have been frozen."""
    while True:
        left_s = limit.ends_at - time.monotonic()
        if poller.poll(max(0.0, min(SLICE_S, left_s)) * 1_000):
            return
        if left_s <= 0:
            message = "the database did not answer in time"
            raise psycopg2.OperationalError(message)
