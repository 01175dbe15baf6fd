"""Whether PostgreSQL takes batches: one thread asks, the writers go by what it says.

A writer that asked itself would stand still in front of a frozen server, and messages
with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import connection
from django.db.utils import Error as DatabaseError

from apps.telemetry import spoolmarks
from workers.dblimits import limited

log = logging.getLogger(__name__)

PATIENCE_S = 3.0  # a restart of PostgreSQL is often over by then
ASK_EVERY_S = 1.0
ASK_LIMIT_S = 5.0  # on a busy machine a connection alone may take seconds
# A server that answers and refuses the batch (a full disk): again after 1, 2, 3 … s.
MOST_WAIT_S = 5.0


class Prober:
    """Asks the database while somebody waits for it; a thread of its own."""

    def __init__(self, probe: Callable[[], None] = spoolmarks.probe) -> None:
        self.turns = 0  # read by the watchdog
        self.answers = True
        self._probe = probe
        self._is_wanted = threading.Event()
        self._stop = threading.Event()

    def ask(self) -> None:
        """Call, from any thread, when a batch failed; `answers` is False for now."""
        self.answers = False
        self._is_wanted.set()

    def stop(self) -> None:
        self._stop.set()
        self._is_wanted.set()

    def run(self) -> None:
        while not self._stop.is_set():
            self.turns += 1
            if not self._is_wanted.wait(ASK_EVERY_S):
                continue
            if self._stop.wait(ASK_EVERY_S):
                break
            self._is_wanted.clear()  # before the answer: who fails meanwhile asks again
            try:
                with limited(ASK_LIMIT_S):
                    self._probe()
            except DatabaseError:
                self._is_wanted.set()
            else:
                self.answers = True
            finally:
                connection.close()
        connection.close()


class Reach:
    """One writer's view: fine, failing for a moment, or away."""

    def __init__(
        self, prober: Prober, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_away = False
        self._prober = prober
        self._clock = clock
        self._since: float | None = None
        self._next_try = 0.0
        self._fails = 0
        self._is_hurried = False

    def hurry(self) -> None:
        """Have no patience any more: the process ends."""
        self._is_hurried = True

    @property
    def may_try(self) -> bool:
        """Whether a batch may go to the database, rather than to the spool."""
        if not self.is_away:
            return True
        return self._prober.answers and self._clock() >= self._next_try

    @property
    def wait_s(self) -> float:
        """How long to wait before the same batch is tried again, while not away."""
        return min(0.1 * float(2 ** min(self._fails, 5)), 1.0)

    def failed(self, began: float, why: str) -> None:
        """Note that a try that began then has failed."""
        now = self._clock()
        self._since = began if self._since is None else self._since
        self._fails += 1
        if self.is_away:
            self._next_try = now + min(self._fails * ASK_EVERY_S, MOST_WAIT_S)
            self._prober.ask()
        elif now - self._since >= PATIENCE_S or self._is_hurried:
            log.warning("database away for %.1f s: %s", now - self._since, why)
            self.is_away = True
            self._fails = 0
            self._prober.ask()

    def worked(self) -> None:
        """Note that a batch was stored."""
        if self.is_away and self._since is not None:
            log.warning("database back after %.1f s", self._clock() - self._since)
        self.is_away = False
        self._since = None
        self._fails = 0
