"""A message as a row of the spool's file, with a checksum."""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

from apps.telemetry.facts import Message

COLUMNS = (
    "batch, code, shard, site_id, connection_id, topic, payload, qos, retain, dup, "
    "mid, received_us, crc"
)


class SpoolBrokenError(Exception):
    """The file is damaged."""


class Waiting(NamedTuple):
    """A message in the file; `batch`: the try that may have stored it, or 0."""

    seq: int
    batch: int
    code: str
    message: Message


def row_of(message: Message, code: str, batch: int) -> tuple[object, ...]:
    """Return the values of `COLUMNS` for a message."""
    values = (
        code,
        message.shard,
        message.site_id,
        message.connection_id,
        message.topic,
        message.payload,
        message.qos,
        int(message.retain),
        int(message.dup),
        message.mid,
        message.received_us,
    )
    return (batch, *values, _crc(values))


def _crc(values: tuple[object, ...]) -> int:
    """Return the checksum that shows a flipped bit: SQLite has none on its pages.

    Raises:
        TypeError: topic or payload are no bytes any more.
    """
    topic, payload = values[4:6]
    others = crc32(repr((*values[:4], *values[6:])).encode())
    return crc32(payload, crc32(topic, others))  # type: ignore[arg-type]


def waiting_of(row: tuple[Any, ...]) -> Waiting:
    """Return what a row of `seq` and `COLUMNS` says.

    Raises:
        SpoolBrokenError: it is not what was written.
    """
    seq, batch, *values, crc = row
    try:
        is_same = _crc(tuple(values)) == crc
    except TypeError:
        is_same = False
    if not is_same:
        message = f"row {seq!r} is not what was written"
        raise SpoolBrokenError(message)
    code, shard, site, connection, topic, payload, qos, retain, dup, mid, at = values
    found = Message(
        shard,
        site,
        connection,
        0,  # its session is over, it was acknowledged
        topic,
        payload,
        qos,
        bool(retain),
        bool(dup),
        mid,
        at,
    )
    return Waiting(seq, batch, code, found)
