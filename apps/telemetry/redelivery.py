"""Recognises what a broker delivers a second time after a crash.

A redelivery has DUP set, keeps its packet id (MQTT 3.1.1 §3.3.1.1, §4.4) and its
content, and concerns only messages whose PUBACK the broker never saw. So the last
packet ids of each connection are remembered with a hash, in memory and, for a worker
that takes over, in the same transaction as the readings. Content alone proves nothing:
two equal readings are two.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

from apps.telemetry.facts import Message

ENTRY_BYTES = 10
KEPT_AT_LEAST = 128  # six times the window of 20 that brokers give a 3.1.1 client

_DIGEST_BYTES = ENTRY_BYTES - 2


def digest(message: Message) -> bytes:
    state = blake2b(message.topic, digest_size=_DIGEST_BYTES)
    state.update(b"\0")
    state.update(message.payload)
    return state.digest()


class RedeliveryWindow:
    """The last delivered packet ids of one connection, at most the 65,535 there are."""

    def __init__(self, stored: bytes = b"") -> None:
        self._seen: OrderedDict[int, bytes] = OrderedDict()
        self._previous = 0
        for start in range(0, len(stored), ENTRY_BYTES):
            entry = stored[start : start + ENTRY_BYTES]
            self._seen[int.from_bytes(entry[:2], "big")] = entry[2:]

    def is_repeat(self, mid: int, content: bytes) -> bool:
        """Return whether this packet id was last delivered with this content."""
        return self._seen.get(mid) == content

    def packed_with(self, delivered: dict[int, bytes]) -> bytes:
        """Return what to store once these packet ids are delivered as well.

        Kept are this batch, the one before (its PUBACKs may still be on their way)
        and at least KEPT_AT_LEAST.
        """
        room = max(KEPT_AT_LEAST, len(delivered) + self._previous) - len(delivered)
        older: list[tuple[int, bytes]] = []
        for mid in reversed(self._seen):
            if len(older) >= room:
                break
            if mid not in delivered:
                older.append((mid, self._seen[mid]))
        return pack([*reversed(older), *delivered.items()])

    def remember(self, delivered: dict[int, bytes]) -> None:
        """Call after the commit."""
        for mid, content in delivered.items():
            self._seen.pop(mid, None)
            self._seen[mid] = content
        self._previous = len(delivered)


def pack(entries: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(mid.to_bytes(2, "big") + content for mid, content in entries)
