"""Hears every event that this installation publishes on Redis, for as long as it runs.

django-eventstream's own listener dies for good, without a word, in an outage of four
seconds. This one comes back from any outage, and says that something may be missing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from apps.core.redis import (
    RedisError,
    Subscription,
    events_channel,
    listening_client,
)

log = logging.getLogger(__name__)

# After this much silence we ask Redis whether it is there, and wait as long for any
# answer. So a frozen one is found in six seconds; a dead one says so at once.
QUIET_S = 3.0
FIRST_TRY_S = 1.5
FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 2.0  # one attempt of one process every two seconds costs nothing


class EventListener:
    """One subscription of this process.

    Args:
        on_event: called with channel, event type and the body as JSON text, in the
            order of arrival.
        on_lost: called once when an outage begins: from now on nothing is heard.
        on_gap: called once after each outage, when events are heard again: what was
            published in between is lost.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[str, str, str], None],
        on_gap: Callable[[], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_event = on_event
        self._on_lost = on_lost
        self._on_gap = on_gap
        self._lost_at: float | None = None
        self._hears = False
        self._tried = asyncio.Event()

    @property
    def hears(self) -> bool:
        """Whether what is published now will be heard, as far as we know."""
        return self._hears

    async def wait_until_tried(self) -> None:
        """Wait for the first attempt to end, well or badly, but not for long.

        Whoever opens a stream after a good one misses nothing; otherwise there is a
        gap, and `on_gap` will tell.
        """
        try:
            async with asyncio.timeout(FIRST_TRY_S):
                await self._tried.wait()
        except TimeoutError:
            # Both may fall due in the same turn of a loop that was held up.
            if not self._tried.is_set():
                self._note_lost("no answer yet")

    async def run(self) -> None:
        """Listen until cancelled."""
        delay = FIRST_RETRY_S
        while True:
            try:
                await self._hear()
            except (RedisError, OSError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}"
            except Exception:
                log.exception("the listener for events broke")
                reason = "see above"
            else:
                reason = "the subscription ended"
            delay = FIRST_RETRY_S if self._hears else min(delay * 2, LONGEST_RETRY_S)
            self._note_lost(reason)
            await asyncio.sleep(delay)

    async def _hear(self) -> None:
        async with listening_client() as client, client.pubsub() as subscription:
            await subscription.subscribe(events_channel())
            while message := await _next_message(subscription):
                if message["type"] == "subscribe":
                    self._note_hearing()
                elif message["type"] == "message":
                    self._pass_on(message["data"])

    def _pass_on(self, text: str) -> None:
        try:
            event = json.loads(text)
            channel, kind, body = event["channel"], event["event_type"], event["data"]
        except (ValueError, KeyError, TypeError):
            # Only a stranger on our channel can do that; nobody waits for it.
            log.warning("not an event on %s: %.80r", events_channel(), text)
        else:
            self._on_event(channel, kind, body)

    def _note_hearing(self) -> None:
        lost_at, self._lost_at = self._lost_at, None
        self._hears = True
        self._tried.set()
        if lost_at is not None:
            log.info("events are heard again after %.1f s", time.monotonic() - lost_at)
            self._on_gap()

    def _note_lost(self, reason: str) -> None:
        self._hears = False
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            log.warning("events are not heard, trying again: %s", reason)
            self._on_lost()
        self._tried.set()


async def _next_message(subscription: Subscription) -> dict[str, Any]:
    """Return the next message, of any type.

    Raises:
        TimeoutError: Redis did not answer in time.
        RedisError: the connection is gone.
    """
    message: dict[str, Any] | None = await subscription.get_message(timeout=QUIET_S)
    if message is None:
        await subscription.ping()
        message = await subscription.get_message(timeout=QUIET_S)
    if message is None:
        error = f"Redis has not answered for {QUIET_S:g} s"
        raise TimeoutError(error)
    return message
