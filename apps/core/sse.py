"""The open streams of this process, and what they send.

Built on django-eventstream's listener manager, with the guards it lacks: nobody reads
by `?channel=`, no outage silences a stream, nothing is dropped without a word, a lost
right ends a stream, and none of it holds a thread or a database connection a client.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import DatabaseError, connections
from django.utils import timezone
from django_eventstream import eventstream, views
from django_eventstream.channelmanager import ChannelManagerBase
from django_eventstream.utils import sse_encode_event

from apps.core import redis
from apps.core.listening import EventListener
from apps.core.permits import Permit, still_good

log = logging.getLogger(__name__)

KEEPALIVE_S = 15.0  # proxies cut a silent connection after 30 or 60 s
KEEPALIVE = b": keep-alive\n\n"
# Events that wait for one slow client, per channel. Enough for a page that stalls some
# seconds; more than that, and refetching is cheaper for everybody.
MAX_PENDING = 100

# A right that is lost ends its stream within 60 s, whatever the database does: a
# re-check every 30 s (at most 10 s long), and after a failed one again in 5 s, until
# the last good one is 40 s old. For 1,000 different users one takes 1 s of a core.
RECHECK_EVERY_S = 30.0
RECHECK_LIMIT_S = 10.0
RECHECK_AGAIN_S = 5.0
TRUSTED_FOR_S = 40.0

RESYNC = sse_encode_event("resync", "{}").encode()  # refetch: something was lost
AWAY = sse_encode_event("away", "{}").encode()  # nothing is heard until a `resync`


class NoOneReads(ChannelManagerBase):  # type: ignore[misc]  # (untyped)
    """Closes django-eventstream's own view: channels come from our URLs alone."""

    def get_channels_for_request(self, request: Any, view_kwargs: Any) -> set[str]:  # noqa: ANN401 (the library's)
        return set()

    def can_read_channel(self, user: Any, channel: str) -> bool:  # noqa: ANN401 (the library's)
        return False

    def is_channel_reliable(self, channel: str) -> bool:
        return False


class Stream(views.Listener):  # type: ignore[misc]  # (untyped)
    """One client. The manager fills it, its response empties it, on the same loop."""

    def __init__(self, permit: Permit) -> None:
        super().__init__()
        self.assign_loop()
        self.channel_items: dict[str, list[tuple[int, bytes]]] = {}
        self.permit = permit
        self.channels = permit.channels
        self.checked_at: float = self.loop.time()
        self.is_ended = False

    def end(self) -> None:
        self.is_ended = True
        self.aevent.set()

    def lose(self) -> None:
        """Note that events were lost: the client will be told to refetch."""
        self.overflow = True
        self.aevent.set()

    async def body(
        self, manager: StreamManager, first: bytes
    ) -> AsyncGenerator[bytes, None]:
        """Yield `first`, then what happens, until the stream is ended."""
        manager.add(self)
        try:
            yield first
            while not self.is_ended:
                if part := await self._next_part(manager):
                    yield part
        finally:
            manager.remove(self)

    async def _next_part(self, manager: StreamManager) -> bytes:
        try:
            async with asyncio.timeout(KEEPALIVE_S):
                await self.aevent.wait()
        except TimeoutError:
            return KEEPALIVE
        with manager.lock:
            self.aevent.clear()
            waiting, self.channel_items = self.channel_items, {}
            is_short, self.overflow = self.overflow, False
        if self.is_ended:
            return b""
        # Numbered, because the manager keeps one list a channel.
        events = sorted(itertools.chain.from_iterable(waiting.values()))
        parts = [part for _, part in events]
        return b"".join([*parts, RESYNC] if is_short else parts)


class StreamManager(views.ListenerManager):  # type: ignore[misc]  # (untyped)
    """All streams of this process, what they hear and whether they still may."""

    def __init__(self) -> None:
        super().__init__()
        self.redis_listener = None  # the stock one; ours is started by `open`
        self.streams: set[Stream] = set()
        self.is_closing = False
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: EventListener | None = None
        # Its own, and one: re-checks that hang on a frozen database queue up behind
        # each other instead of taking a thread each.
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="stream-recheck")

    async def ready(self) -> None:
        """Return when events are heard, or when it is clear that Redis is away."""
        listener = self._started_listener()
        await listener.wait_until_tried()

    def add(self, stream: Stream) -> None:
        self.add_listener(stream)
        self.streams.add(stream)
        if self.is_closing:
            stream.end()

    def remove(self, stream: Stream) -> None:
        self.remove_listener(stream)
        self.streams.discard(stream)

    def close(self) -> None:
        """End all streams, so that the server can exit; browsers come back."""
        self.is_closing = True
        for stream in self.streams:
            stream.end()

    def deliver(self, channel: str, event: str, body: str) -> None:
        # Encoded once for all who listen; most events have no listener here at all.
        if channel in self.listeners_by_channel:
            part = sse_encode_event(event, body).encode()
            self.add_to_queues(channel, (next(self._numbers), part))

    def resync_all(self) -> None:
        for stream in self.streams:
            stream.lose()

    def tell_away(self) -> None:
        """Tell everyone that live updates are away: what they show may grow old."""
        part = (next(self._numbers), AWAY)
        for stream in self.streams:
            with self.lock:
                stream.channel_items.setdefault("", []).append(part)
            stream.aevent.set()

    @property
    def hears(self) -> bool:
        return self._listener is not None and self._listener.hears

    def _started_listener(self) -> EventListener:
        """Start our tasks with the first client, and again on a new event loop."""
        loop = asyncio.get_running_loop()
        alive = self._loop is loop and not any(task.done() for task in self._tasks)
        if self._listener is None or not alive:
            for task in self._tasks:
                task.cancel()
            self._loop = loop
            self.is_closing = False
            self._listener = EventListener(
                on_event=self.deliver, on_gap=self.resync_all, on_lost=self.tell_away
            )
            self._tasks = [
                loop.create_task(self._listener.run()),
                loop.create_task(self._recheck_for_ever()),
            ]
        return self._listener

    async def _recheck_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_EVERY_S)
            while not await self._recheck():
                await asyncio.sleep(RECHECK_AGAIN_S)

    async def _recheck(self) -> bool:
        """End every stream whose permit is no longer good; False if that is unknown."""
        loop = asyncio.get_running_loop()
        streams, started = set(self.streams), loop.time()
        permits = {stream.permit for stream in streams}
        if not permits:
            return True
        try:
            async with asyncio.timeout(RECHECK_LIMIT_S):
                good = await loop.run_in_executor(self._checker, _still_good, permits)
        except Exception as error:
            is_expected = isinstance(error, (DatabaseError, TimeoutError))
            log.warning(
                "cannot re-check who may listen: %s",
                type(error).__name__,
                exc_info=None if is_expected else error,
            )
            for stream in streams:
                if loop.time() - stream.checked_at > TRUSTED_FOR_S:
                    stream.end()
            return False
        for stream in streams:
            stream.checked_at = started
            if stream.permit not in good:
                stream.end()
        return True


def _still_good(permits: Collection[Permit]) -> set[Permit]:
    try:
        return still_good(permits, now=timezone.now())
    finally:
        connections.close_all()


class _Publisher:
    """What django-eventstream publishes through: our client, our channel."""

    def publish(self, _: str, message: str) -> int:
        receivers: int = redis.client().publish(redis.events_channel(), message)
        return receivers


def install() -> None:
    """Put our parts in the places of django-eventstream's (5.3: they are globals)."""
    views.MAX_PENDING = MAX_PENDING
    views.listener_manager = StreamManager()
    eventstream.redis_client = _Publisher()


def manager() -> StreamManager:
    found: StreamManager = views.get_listener_manager()
    return found
