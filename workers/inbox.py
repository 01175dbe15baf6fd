"""The bounded buffer between the network thread and the writer.

Bounds are ours, not the broker's: mosquitto 2.0.11 sends far more than it may. A QoS 1
message is never dropped here: its connection is suspended when there is no more room,
and what is not acknowledged comes again. QoS 0 that finds no room is dropped, counted.
"""

from __future__ import annotations

import threading
from collections import deque

from apps.telemetry.facts import Message

# One connection may hold half of it, so that a storm leaves room for the others.
MAX_MESSAGES = 20_000
MAX_BYTES = 64 * 1024 * 1024
CONNECTION_MESSAGES = 5_000
CONNECTION_BYTES = 16 * 1024 * 1024
# A connection with less than both is not the one that fills the worker.
FAIR_MESSAGES = 1_000
FAIR_BYTES = 4 * 1024 * 1024
RESUME_AT = 0.5  # of the bound

OVERHEAD_BYTES = 400  # of a message's Python objects, beside topic and payload


class _Load:
    """How much of a connection waits here; each number has one writing thread."""

    __slots__ = ("put_bytes", "put_count", "taken_bytes", "taken_count")

    def __init__(self) -> None:
        self.put_count = self.put_bytes = 0  # network thread
        self.taken_count = self.taken_bytes = 0  # writer

    @property
    def count(self) -> int:
        return self.put_count - self.taken_count

    @property
    def size(self) -> int:
        return self.put_bytes - self.taken_bytes


class Inbox:
    """Messages on their way to the database, in the order of receipt."""

    def __init__(self, overfull: set[int] | None = None) -> None:
        """Prepare an inbox; `overfull` may be shared with others."""
        self._queue: deque[Message] = deque()
        self._has_some = threading.Event()
        self._loads: dict[int, _Load] = {}
        self._all = _Load()
        self._dropped: dict[int, int] = {}
        self._dropped_lock = threading.Lock()
        # Connections that must stop sending.
        self.overfull: set[int] = set() if overfull is None else overfull

    # -- network thread --------------------------------------------------------

    def put(self, message: Message, *, is_kept: bool = False) -> None:
        """Take a message in; a QoS 0 one only while there is room.

        Args:
            message: is counted on its connection.
            is_kept: take one of QoS 0 in any case; its sender looks at `has_room`.
        """
        size = _size(message)
        load = self._loads.get(message.connection_id)
        if load is None:
            load = self._loads.setdefault(message.connection_id, _Load())
        if message.qos == 0 and not is_kept and self._is_full(load):
            self._count_drop(message.connection_id)
            return
        load.put_count += 1
        load.put_bytes += size
        self._all.put_count += 1
        self._all.put_bytes += size
        self._queue.append(message)
        if not self._has_some.is_set():
            self._has_some.set()
        is_small = load.count < FAIR_MESSAGES and load.size < FAIR_BYTES
        if message.qos and not is_small and self._is_full(load):
            self.overfull.add(message.connection_id)

    def _is_full(self, load: _Load, share: float = 1.0) -> bool:
        return (
            load.count >= CONNECTION_MESSAGES * share
            or load.size >= CONNECTION_BYTES * share
            or self._all.count >= MAX_MESSAGES * share
            or self._all.size >= MAX_BYTES * share
        )

    def _count_drop(self, connection_id: int) -> None:
        with self._dropped_lock:
            self._dropped[connection_id] = self._dropped.get(connection_id, 0) + 1

    def has_room(self, connection_id: int) -> bool:
        """Return whether a suspended connection may come back."""
        load = self._loads.get(connection_id)
        return load is None or not self._is_full(load, RESUME_AT)

    # -- writer ----------------------------------------------------------------

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return what waits, at most so many; empty after the timeout."""
        if not self._queue:
            self._has_some.clear()
            # A message may have come between the look and the clear.
            if not self._queue and not self._has_some.wait(timeout_s):
                return []
        taken: list[Message] = []
        queue = self._queue
        while queue and len(taken) < most:
            taken.append(queue.popleft())
        return taken

    def done(self, messages: list[Message]) -> None:
        """Give back the room of messages that are stored, or of no use any more."""
        for message in messages:
            size = _size(message)
            load = self._loads[message.connection_id]
            load.taken_count += 1
            load.taken_bytes += size
            self._all.taken_count += 1
            self._all.taken_bytes += size

    def take_dropped(self) -> dict[int, int]:
        """Return how many QoS 0 messages had no room since the last call."""
        with self._dropped_lock:
            dropped, self._dropped = self._dropped, {}
        return dropped

    def give_back_dropped(self, dropped: dict[int, int]) -> None:
        """Count again what could not be written down."""
        with self._dropped_lock:
            for connection_id, count in dropped.items():
                self._dropped[connection_id] = (
                    self._dropped.get(connection_id, 0) + count
                )

    @property
    def depth(self) -> int:
        """Messages that came in and are not stored yet."""
        return self._all.count

    @property
    def size(self) -> int:
        """Bytes that these take."""
        return self._all.size

    def depth_of(self, connection_id: int) -> int:
        load = self._loads.get(connection_id)
        return load.count if load else 0


class Inboxes:
    """An inbox for each writer. A connection always goes to the same one.

    So its messages keep their order, and no two writers ever touch the same site:
    while one waits for the database the other decodes.
    """

    def __init__(self, count: int) -> None:
        self.overfull: set[int] = set()
        self.each = tuple(Inbox(self.overfull) for _ in range(count))

    def of(self, connection_id: int) -> Inbox:
        return self.each[connection_id % len(self.each)]

    @property
    def depth(self) -> int:
        """Messages that came in and are not stored yet."""
        return sum(inbox.depth for inbox in self.each)

    @property
    def size(self) -> int:
        """Bytes that these take."""
        return sum(inbox.size for inbox in self.each)


def _size(message: Message) -> int:
    return len(message.payload) + len(message.topic) + OVERHEAD_BYTES
