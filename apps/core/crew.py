"""A few threads that answer for many requests, one request at a time each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections


class Crew:
    """Threads for the synchronous parts of async code (middleware, ORM).

    Django gives every request a new thread, hence a new database connection, and
    PostgreSQL's login alone costs 13 ms of CPU (SCRAM, November 2026). A thread of the
    crew keeps its connection while requests queue up; a quiet crew has none.
    """

    def __init__(self, size: int) -> None:
        self._idle: asyncio.LifoQueue[ThreadPoolExecutor] = asyncio.LifoQueue()
        self._waiting = 0
        for number in range(size):
            self._idle.put_nowait(
                ThreadPoolExecutor(1, thread_name_prefix=f"crew-{number}")
            )

    @asynccontextmanager
    async def member(self) -> AsyncIterator[None]:
        """Run the body's `sync_to_async` on one thread, alone; waits for a free one."""
        self._waiting += 1
        try:
            thread = await self._idle.get()
        finally:
            self._waiting -= 1
        try:
            async with ThreadSensitiveContext(executor=thread):
                try:
                    yield
                finally:
                    let_go = _close_broken if self._waiting else connections.close_all
                    await sync_to_async(let_go)()
        finally:
            self._idle.put_nowait(thread)


def _close_broken() -> None:
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close()
