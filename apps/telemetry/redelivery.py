"""Recognises what a broker delivers a second time after a crash or a cut.

A redelivery has DUP set, keeps its packet id (MQTT 3.1.1 §3.3.1.1, §4.4) and its
content, and concerns only messages whose PUBACK the broker never saw. So every QoS 1
delivery is remembered with a hash of its content, in the transaction that stores its
readings: how many a broker has on their way is its own affair (mosquitto 2.0.11: more
than it may). Content alone proves nothing: two equal readings are two.

An entry holds the time of receipt as well, so that messages which waited in a spool
may come here late. Nothing is kept in memory: the window is read for a DUP only, which
is rare, and always as the last owner left it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from apps.sites import deliveries
from apps.telemetry.facts import Message

# Twice the time of receipt, plus 1 for a DUP that was stored; packet id; hash.
_ENTRY = Struct(">QH6s")
_HASH_BYTES = 6

# Most brokers count packet ids up to 65,535 and begin anew: a message that long ago
# had the same id, and perhaps an equal reading. No farther back, with a margin.
REACH = 60_000

# A delivery: mark (as in an entry), hash, and whether it is a DUP of the very batch.
_Past = tuple[int, bytes, bool]


class Packed(NamedTuple):
    """Entries by connection: all, and again those that came with DUP and are stored."""

    every: dict[int, bytes]
    redelivered: dict[int, bytes]


def digest(message: Message) -> bytes:
    state = blake2b(message.topic, digest_size=8)  # the first bytes of it are kept
    state.update(b"\0")
    state.update(message.payload)
    return state.digest()[:_HASH_BYTES]


def find_repeats(messages: Sequence[Message], *, is_late: bool = False) -> set[int]:
    """Return the places of messages that are deliveries of what is stored already.

    Call it in the transaction that will store what `pack` returns.

    Args:
        messages: in the order of receipt.
        is_late: they have waited somewhere while others were stored. Then times decide
            what came before, and what waited may itself have been delivered again and
            stored meanwhile.
    """
    if is_late:
        concerned = {m.connection_id for m in messages if m.qos}
    else:
        concerned = {m.connection_id for m in messages if m.dup and m.qos}
    if not concerned:
        return set()
    places: dict[int, list[int]] = {}
    for place, message in enumerate(messages):
        if message.qos and message.connection_id in concerned:
            places.setdefault(message.connection_id, []).append(place)
    if is_late:
        find, windows = _find_late, deliveries.load_all(sorted(concerned))
    else:
        most = REACH * _ENTRY.size
        find, windows = _find_live, deliveries.load_newest(sorted(concerned), most)
    repeats: set[int] = set()
    for connection_id, own in places.items():
        ours = [messages[place] for place in own]
        window = windows.get(connection_id, b"")
        repeats.update(own[index] for index in find(ours, window))
    return repeats


def pack(messages: Sequence[Message], repeats: set[int]) -> Packed:
    """Return the entries that remember these messages.

    Args:
        messages: as for `find_repeats`; QoS 0 knows no redelivery.
        repeats: what that returned.
    """
    every: dict[int, list[bytes]] = {}
    redelivered: dict[int, list[bytes]] = {}
    make = _ENTRY.pack
    for place, message in enumerate(messages):
        if not message.qos:
            continue
        mark = message.received_us << 1
        is_redelivery = message.dup and place not in repeats
        entry = make(mark | is_redelivery, message.mid, digest(message))
        known = every.get(message.connection_id)
        if known is None:
            every[message.connection_id] = [entry]
        else:
            known.append(entry)
        if is_redelivery:
            redelivered.setdefault(message.connection_id, []).append(entry)
    return Packed(
        {key: b"".join(entries) for key, entries in every.items()},
        {key: b"".join(entries) for key, entries in redelivered.items()},
    )


def _find_live(messages: list[Message], window: bytes) -> list[int]:
    """Compare each DUP with what its packet id delivered last. Pure."""
    wanted = {message.mid for message in messages if message.dup}
    latest: dict[int, tuple[int, bytes]] = {}
    for mark, mid, content in _ENTRY.iter_unpack(window):
        if mid in wanted and (mid not in latest or mark >= latest[mid][0]):
            latest[mid] = mark, content
    last = {mid: content for mid, (_, content) in latest.items()}
    repeats: list[int] = []
    for index, message in enumerate(messages):
        if message.mid in wanted:
            content = digest(message)
            if message.dup and last.get(message.mid) == content:
                repeats.append(index)
            last[message.mid] = content
    return repeats


def _find_late(messages: list[Message], window: bytes) -> list[int]:
    """Compare each message with its packet id's deliveries before and after it. Pure.

    Before: of a DUP, as ever. After: if the next is a DUP of equal content that was
    stored, it is a redelivery of this message, which then is the repeat.
    """
    wanted = {message.mid for message in messages}
    past: dict[int, list[_Past]] = {}
    marks: list[int] = []
    for mark, mid, content in _ENTRY.iter_unpack(window):
        marks.append(mark)
        if mid in wanted:
            past.setdefault(mid, []).append((mark, content, False))
    for message in messages:
        entry = (message.received_us << 1, digest(message), message.dup)
        past.setdefault(message.mid, []).append(entry)
    marks.sort()
    for known in past.values():
        known.sort()
    return [
        index
        for index, message in enumerate(messages)
        if _is_late_repeat(message, past[message.mid], marks)
    ]


def _is_late_repeat(message: Message, known: list[_Past], marks: list[int]) -> bool:
    """Return whether a neighbour among `known` shows that it is stored already.

    Args:
        message: is in `known` itself.
        known: the deliveries of its packet id in the order of time.
        marks: those of the whole window, in order.
    """
    mark = message.received_us << 1
    place = bisect_left(known, (mark,))
    content = known[place][1]

    def is_near(other: int) -> bool:
        between = bisect_left(marks, other) - bisect_left(marks, mark)
        return abs(between) <= REACH

    if message.dup and place:
        before, its_content, _ = known[place - 1]
        if its_content == content and is_near(before):
            return True
    for after, its_content, waits_as_well in known[place + 1 :]:
        if its_content != content:
            return False
        if not waits_as_well:
            return bool(after & 1) and is_near(after)
    return False
