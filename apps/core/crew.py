"""A few threads that do the synchronous work of many requests."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from django.db import connections

Result = TypeVar("Result")
Job = tuple["Future[Any]", Callable[[], Any]]


class Crew:
    """Does work in line, at most `size` pieces at a time.

    Django gives every request a new thread, hence a new database connection, and
    PostgreSQL's login alone takes 13 ms of CPU (SCRAM, November 2026). A thread of the
    crew keeps its connection from one piece of work to the next. The thread that
    rested last works first, so a quiet site has few connections; a thread that has had
    nothing to do for `rest_s` closes its own and goes home.
    """

    def __init__(self, size: int, name: str, *, rest_s: float = 0.0) -> None:
        self._desk = _Desk(size, name, rest_s)
        weakref.finalize(self, self._desk.close)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns; work whose caller is gone does not begin."""
        future: Future[Result] = Future()
        context = copy_context()
        self._desk.put((future, lambda: context.run(work)))
        return await asyncio.wrap_future(future)


class _Desk:
    """Where work is handed over; it does not know the crew, which may be forgotten."""

    def __init__(self, size: int, name: str, rest_s: float) -> None:
        self._size, self._name, self._rest_s = size, name, rest_s
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._resting: list[SimpleQueue[Job | None]] = []  # the last one rested last
        self._threads = self._started = 0
        self._is_closed = False

    def put(self, job: Job) -> None:
        with self._lock:
            if self._resting:
                self._resting.pop().put(job)
                return
            if self._threads == self._size:
                self._waiting.append(job)
                return
            self._threads += 1
            self._started += 1
            name = f"{self._name}-{self._started}"
        threading.Thread(
            target=self._work_on, args=(job,), name=name, daemon=True
        ).start()

    def close(self) -> None:
        """Send home who rests; the others go when nothing is waiting."""
        with self._lock:
            self._is_closed = True
            resting, self._resting = self._resting, []
        for inbox in resting:
            inbox.put(None)

    def _work_on(self, first: Job) -> None:
        inbox: SimpleQueue[Job | None] = SimpleQueue()
        job: Job | None = first
        del first
        while job is not None:
            tell = _do(job)
            del job  # this thread's last job must not live on in it
            # First free, then heard of: whoever waits for the result and comes back
            # with more work finds this thread, not a new one.
            job = self._take(inbox)
            tell()
            del tell
            if job is None:
                job = self._wait(inbox)
        connections.close_all()

    def _take(self, inbox: SimpleQueue[Job | None]) -> Job | None:
        """Return waiting work, or have the thread rest at its inbox."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._is_closed:
                self._threads -= 1
                inbox.put(None)
            else:
                self._resting.append(inbox)
        return None

    def _wait(self, inbox: SimpleQueue[Job | None]) -> Job | None:
        try:
            return inbox.get(timeout=self._rest_s)
        except Empty:
            return self._leave(inbox)

    def _leave(self, inbox: SimpleQueue[Job | None]) -> Job | None:
        with self._lock:
            if inbox in self._resting:
                self._resting.remove(inbox)
                self._threads -= 1
                return None
        return inbox.get()  # handed over in that very moment


def _do(job: Job) -> Callable[[], None]:
    """Do it, and return what tells its caller."""
    future, work = job
    if not future.set_running_or_notify_cancel():
        return lambda: None
    _look_at_connections()
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 (handed to the caller)
        tell = partial(future.set_exception, error)
    else:
        tell = partial(future.set_result, result)
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close()
    return tell


def _look_at_connections() -> None:
    """Have a kept connection tried before its first use: the server may have gone.

    Costs one round trip, 0.1 ms; the settings do the same for kept connections.
    """
    for connection in connections.all(initialized_only=True):
        connection.health_check_enabled = True  # type: ignore[attr-defined]
        connection.health_check_done = False  # type: ignore[attr-defined]
