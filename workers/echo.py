"""Tells whether this worker still takes tasks: it sends itself one, and counts.

A consumer that lost its queue, or a pool that is stuck, looks healthy from outside:
links are up, reports are said, and no command ever arrives. Counted are tasks that
Redis has accepted and that never came, so neither an outage of Redis nor a freeze of
the whole process, nor any clock, can be taken for deafness.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from celery import current_app
from kombu.exceptions import OperationalError

from apps.core.redis import RedisError, client
from apps.core.shards import queue_name

log = logging.getLogger(__name__)

EVERY_S = 30.0
DEAF_AFTER = 5  # echoes in a row: 120 s from the first to the last
_EXPIRES_S = 120  # for a queue that nobody takes from any more


class Echo:
    """Counts, by shard, the echoes that did not come back."""

    def __init__(
        self, owner: str, send: Callable[[int, str], None] | None = None
    ) -> None:
        """Prepare; `send` puts (shard, owner) into the shard's queue."""
        self._owner = owner
        self._send = send or _send
        self._missing: dict[int, int] = {}
        self._lock = threading.Lock()

    def call(self, shards: Iterable[int]) -> None:
        """Send one to each queue that we take from; a shard that is lost is forgotten.

        Call every `EVERY_S`, from one thread.
        """
        ours = set(shards)
        with self._lock:
            self._missing = {k: n for k, n in self._missing.items() if k in ours}
        for shard in sorted(ours):
            try:
                self._send(shard, self._owner)
            except (RedisError, OperationalError):
                self._begin_anew()
                return
            with self._lock:
                self._missing[shard] = self._missing.get(shard, 0) + 1

    def heard(self, shard: int, owner: str) -> None:
        """Note, on any thread, that an echo came; those of others say nothing."""
        if owner == self._owner:
            with self._lock:
                self._missing[shard] = 0

    def deaf(self) -> list[int]:
        """Return the shards whose tasks do not reach us."""
        with self._lock:
            return [k for k, n in self._missing.items() if n >= DEAF_AFTER]

    def _begin_anew(self) -> None:
        """Redis is away: what is missing proves nothing."""
        with self._lock:
            self._missing.clear()


def _send(shard: int, owner: str) -> None:
    client().ping()  # says within 3 s what Celery's client would say after 20
    current_app.send_task(
        "workers.tasks.echo",
        args=[shard, owner],
        queue=queue_name(shard),
        expires=_EXPIRES_S,
    )
