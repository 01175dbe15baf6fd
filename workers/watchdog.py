"""Ends a process of which a part is dead or stuck: half a worker is worse than none.

What starts processes starts a new one. Nothing here looks at a clock: a thread is stuck
when it has made no turn while this one made many, so a process that was frozen, or a
machine that is busy, is never taken for a stuck thread.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

BROKEN = 70  # EX_SOFTWARE: the process manager starts the worker again
LOOK_EVERY_S = 5.0
# 60 s: a turn of the reporter waits for Redis 10 s at the most, one of a writer or of
# the lease keeper for the database, whose calls have time limits, 20 s.
STUCK_AFTER = 12  # looks


def end_process(code: int) -> None:
    """End at once; what each thread was doing goes to standard error before.

    Files and lines, no values: no secret can be among them.
    """
    faulthandler.dump_traceback(file=2)  # `sys.stderr` is Celery's
    os._exit(code)


class Watchdog:
    """Looks at the threads of a process, and ends it."""

    def __init__(
        self,
        turns: Mapping[str, Callable[[], float]],
        deaf: Callable[[], list[int]],
        *,
        is_over: Callable[[], bool],
        end: Callable[[int], None] = end_process,
    ) -> None:
        """Prepare a watchdog.

        Args:
            turns: by the thread's name, a number that changes with each of its turns.
            deaf: the shards of which no task arrives.
            is_over: whether the process is ending anyway.
            end: ends the process with a code.
        """
        self._turns = turns
        self._deaf = deaf
        self._is_over = is_over
        self._end = end
        self._seen: dict[str, float] = {}
        self._idle: dict[str, int] = {}
        self._wait = threading.Event()

    def run(self) -> None:
        while not self._wait.wait(LOOK_EVERY_S) and not self._is_over():
            self.look()

    def stop(self) -> None:
        self._wait.set()

    def look(self) -> None:
        """End the process if a thread has made no turn for many looks."""
        for name, turn in self._turns.items():
            now = turn()
            is_same = self._seen.get(name) == now
            self._seen[name] = now
            self._idle[name] = self._idle.get(name, 0) + 1 if is_same else 0
            if self._idle[name] >= STUCK_AFTER:
                log.critical("thread stuck name=%s; ending the process", name)
                self._end(BROKEN)
        deaf = self._deaf()
        if deaf:
            log.critical("no task arrives shards=%s; ending the process", deaf)
            self._end(BROKEN)

    def guard(self, name: str, run: Callable[[], None]) -> None:
        """Run a thread that may end only when the process does."""
        try:
            run()
        except BaseException:
            log.critical("thread died name=%s; ending the process", name, exc_info=True)
            self._end(BROKEN)
        if not self._is_over():
            log.critical("thread ended name=%s; ending the process", name)
            self._end(BROKEN)
