"""Recognises what a broker delivers a second time after a crash.

A redelivery has DUP set, keeps its packet id (MQTT 3.1.1 §3.3.1.1, §4.4) and its
content, and concerns only messages whose PUBACK the broker never saw. So the last
packet ids of each connection are remembered with a hash, in memory and, for a worker
that takes over, in the same transaction as the readings. Content alone proves nothing:
two equal readings are two.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from apps.telemetry.facts import Message

ENTRY_BYTES = 10
PACKET_IDS = 65_535  # there are no more
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
        self._seen: dict[int, bytes] = {}
        self._tail = stored  # what the database has, oldest first
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
        and at least KEPT_AT_LEAST. A packet id may be there twice; the later counts.
        """
        kept = min(PACKET_IDS, max(KEPT_AT_LEAST, len(delivered) + self._previous))
        return (self._tail + pack(delivered.items()))[-kept * ENTRY_BYTES :]

    def remember(self, delivered: dict[int, bytes]) -> None:
        """Call after the commit."""
        self._tail = self.packed_with(delivered)
        self._seen.update(delivered)
        self._previous = len(delivered)


def pack(entries: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join([mid.to_bytes(2, "big") + content for mid, content in entries])
