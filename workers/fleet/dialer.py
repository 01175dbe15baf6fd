"""Opens connections beside the loop: name look-up, TCP and TLS all block."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

DIALERS = 4  # a thousand links to one broker are up within a second


class Waker:
    """Wakes a `select` from another thread, or from a signal handler."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def wake(self) -> None:
        # Full of wake-up calls: it will wake. Closed: nobody sleeps any more.
        with suppress(OSError):
            self._writer.send(b"\0")

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while self.reader.recv(4096):
                pass

    def close(self) -> None:
        self.reader.close()
        self._writer.close()


class Dialer:
    """Runs blocking calls in a few threads and keeps their outcomes for the loop.

    The threads are daemons: a broker that swallows packets must not hold up the exit.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._calls: SimpleQueue[tuple[int, Callable[[], None]] | None] = SimpleQueue()
        self.outcomes: deque[tuple[int, Exception | None]] = deque()
        for number in range(DIALERS):
            Thread(target=self._work, name=f"dialer-{number}", daemon=True).start()

    def submit(self, key: int, call: Callable[[], None]) -> None:
        self._calls.put((key, call))

    def close(self) -> None:
        for _ in range(DIALERS):
            self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            key, call = item
            error: Exception | None = None
            try:
                call()
            except Exception as caught:  # noqa: BLE001 (handed to the loop, which tells)
                error = caught
            self.outcomes.append((key, error))
            self._wake()
