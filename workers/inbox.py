"""The bounded buffer between the network thread and the writer.

Bounds are ours, not the broker's: mosquitto 2.0.11 sends far more than it may. A QoS 1
message is never dropped here: its connection is suspended when there is no more room,
and what is not acknowledged comes again. Of QoS 0 the oldest is dropped, and counted.

Each connection has a lane of its own, and lanes take turns: one that is full holds up
nobody else for longer than a short batch.
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

# A lane with more waiting is a heavy one. All heavy lanes together get no more of a
# batch while a light one waits: it takes about 15 ms, and costs a storm a quarter of
# its rate (November 2026).
LIGHT_MESSAGES = 250

OVERHEAD_BYTES = 400  # of a message's Python objects, beside topic and payload


class _Load:
    """How much waits here; each number has one writing thread."""

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


class _Lane(_Load):
    """What waits of one connection, and whether it is in the line of those to serve."""

    __slots__ = ("firm", "is_listed", "loose")

    def __init__(self) -> None:
        super().__init__()
        self.firm: deque[Message] = deque()  # taken by the writer alone
        self.loose: deque[Message] = deque()  # QoS 0: the network thread drops some
        self.is_listed = False

    def __len__(self) -> int:
        return len(self.firm) + len(self.loose)

    def pop(self) -> Message | None:
        """Return the oldest message, None when there is none any more."""
        try:
            if not self.firm or self.loose[0].received_us < self.firm[0].received_us:
                return self.loose.popleft()
        except IndexError:  # dropped at this moment, or nothing is loose
            pass
        return self.firm.popleft() if self.firm else None


class Inbox:
    """Messages on their way to the database, each connection's in order of receipt."""

    def __init__(self, overfull: set[int] | None = None) -> None:
        """Prepare an inbox; `overfull` may be shared with others."""
        self._lanes: dict[int, _Lane] = {}
        self._line: deque[_Lane] = deque()  # of lanes that hold something
        self._has_some = threading.Event()
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
        lane = self._lanes.get(message.connection_id)
        if lane is None:
            lane = self._lanes.setdefault(message.connection_id, _Lane())
        is_loose = message.qos == 0 and not is_kept
        if is_loose and self._is_full(lane) and not self._make_room(lane, message):
            return
        lane.put_count += 1
        lane.put_bytes += size
        self._all.put_count += 1
        self._all.put_bytes += size
        (lane.loose if is_loose else lane.firm).append(message)
        if not lane.is_listed:  # looked at when the message is there: see `_serve`
            lane.is_listed = True
            self._line.append(lane)
            self._has_some.set()
        is_small = lane.count < FAIR_MESSAGES and lane.size < FAIR_BYTES
        if message.qos and not is_small and self._is_full(lane):
            self.overfull.add(message.connection_id)

    def _is_full(self, load: _Load, share: float = 1.0) -> bool:
        return (
            load.count >= CONNECTION_MESSAGES * share
            or load.size >= CONNECTION_BYTES * share
            or self._all.count >= MAX_MESSAGES * share
            or self._all.size >= MAX_BYTES * share
        )

    def _make_room(self, lane: _Lane, message: Message) -> bool:
        """Drop the oldest of QoS 0 for a new one, or the new one if none waits."""
        needed = _size(message)
        while needed > 0:
            try:
                oldest = lane.loose.popleft()
            except IndexError:
                self._count_drop(message.connection_id)
                return False
            self._count_drop(message.connection_id)
            size = _size(oldest)
            needed -= size
            lane.put_count -= 1
            lane.put_bytes -= size
            self._all.put_count -= 1
            self._all.put_bytes -= size
        return True

    def _count_drop(self, connection_id: int) -> None:
        with self._dropped_lock:
            self._dropped[connection_id] = self._dropped.get(connection_id, 0) + 1

    def has_room(self, connection_id: int) -> bool:
        """Return whether a suspended connection may come back."""
        lane = self._lanes.get(connection_id)
        return lane is None or not self._is_full(lane, RESUME_AT)

    # -- writer ----------------------------------------------------------------

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return what waits, at most so many; empty after the timeout."""
        if not self._line:
            self._has_some.clear()
            # A message may have come between the look and the clear.
            if not self._line and not self._has_some.wait(timeout_s):
                return []
        taken: list[Message] = []
        heavy: list[_Lane] = []
        for _ in range(len(self._line)):
            if len(taken) >= most - min(LIGHT_MESSAGES, most // 2):
                break  # the heavy ones have their turn as well
            lane = self._line.popleft()
            if len(lane) < LIGHT_MESSAGES:
                self._serve(lane, most, taken)
            else:
                heavy.append(lane)
        room = min(most - len(taken), LIGHT_MESSAGES) if taken else most
        for place, lane in enumerate(heavy):
            share = -(-room // (len(heavy) - place))
            before = len(taken)
            self._serve(lane, before + share, taken)
            room -= len(taken) - before
        return taken

    def _serve(self, lane: _Lane, until: int, taken: list[Message]) -> None:
        """Take from a lane until so many are taken; line it up again for the rest."""
        while len(taken) < until and (message := lane.pop()) is not None:
            taken.append(message)
        if not lane:
            lane.is_listed = False
        # Not `else`: a message may have come between the look and the leave. When both
        # threads list the lane then, its second turn finds it empty.
        if lane:
            lane.is_listed = True
            self._line.append(lane)

    def done(self, messages: list[Message]) -> None:
        """Give back the room of messages that are stored, or of no use any more."""
        for message in messages:
            size = _size(message)
            lane = self._lanes[message.connection_id]
            lane.taken_count += 1
            lane.taken_bytes += size
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
        lane = self._lanes.get(connection_id)
        return lane.count if lane else 0


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
