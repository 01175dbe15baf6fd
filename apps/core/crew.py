"""A few threads that do the synchronous work of many requests."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from django.db import connections

Result = TypeVar("Result")
Job = tuple["Future[Any]", Callable[[], Any]]


class Crew:
    """Does work in line, `size` pieces at a time.

    Django gives every request a new thread, hence a new database connection, and
    PostgreSQL's login alone takes 13 ms of CPU (SCRAM, November 2026). A thread of the
    crew keeps its connection while there is work, and closes it before it rests: that
    is why this is no ThreadPoolExecutor, whose threads rest without telling.
    """

    def __init__(self, size: int, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        for number in range(size):
            threading.Thread(
                target=_work_on,
                args=(self._jobs,),
                name=f"{name}-{number}",
                daemon=True,
            ).start()
        weakref.finalize(self, _dismiss, self._jobs, size)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns; work whose caller is gone does not begin."""
        future: Future[Result] = Future()
        context = copy_context()
        self._jobs.put((future, lambda: context.run(work)))
        return await asyncio.wrap_future(future)


def _work_on(jobs: SimpleQueue[Job | None]) -> None:
    while (job := _next(jobs)) is not None:
        future, work = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 (handed to the caller)
                future.set_exception(error)
        # This thread's last job must not live on in it.
        del job, future, work
        _close_connections(only_broken=True)


def _next(jobs: SimpleQueue[Job | None]) -> Job | None:
    try:
        return jobs.get_nowait()
    except Empty:
        _close_connections(only_broken=False)
        return jobs.get()


def _close_connections(*, only_broken: bool) -> None:
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred or not only_broken:
            connection.close()


def _dismiss(jobs: SimpleQueue[Job | None], size: int) -> None:
    for _ in range(size):
        jobs.put(None)
