"""What a decoded message says: the border between the wire format and the database.

Tuples, since thousands a second are made. Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from typing import NamedTuple


class DeviceRef(NamedTuple):
    """A device as a topic names it; a gateway has no type, `number` is its own."""

    gateway: str | None
    type: str | None
    number: str

    @property
    def is_gateway(self) -> bool:
        return self.type is None


class Sample(NamedTuple):
    """One value of one sensor: a number, or a text."""

    key: str
    value: float | None
    text: str | None
    measured_us: int | None  # None: the device gave no usable time


class SensorInfo(NamedTuple):
    """What a message says about a sensor itself; empty where it says nothing."""

    label: str = ""
    type: str = ""
    unit: str = ""


class Samples(NamedTuple):
    """A data message: the readings of one datalogger.

    `sensors` describes some of them by key, where the payload does so; `serial` is the
    datalogger's own.
    """

    device: DeviceRef
    samples: list[Sample]
    sensors: dict[str, SensorInfo] | None = None
    serial: str | None = None


class Heartbeat(NamedTuple):
    """A device says that it lives, and perhaps something about itself."""

    device: DeviceRef
    serial: str | None = None
    label: str | None = None
    firmware: str | None = None
    uptime_s: int | None = None
    interval_s: int | None = None
    rssi: float | None = None
    battery: float | None = None


class DeviceStatus(NamedTuple):
    """A device's own birth or will."""

    device: DeviceRef
    is_online: bool


class Output(NamedTuple):
    """A datalogger's answer to a command; its words are the payload."""

    device: DeviceRef


class Unclaimed(NamedTuple):
    """A topic that no decoder claims."""


class Bad(NamedTuple):
    """A message that cannot be understood; `reason` is a QuarantineReason value."""

    reason: str
    detail: str


Fact = Samples | Heartbeat | DeviceStatus | Output | Unclaimed | Bad


class Message(NamedTuple):
    """One PUBLISH as it came in, with the connection that it came over.

    `shard` and `site_id` belong to the connection; `topic` and `payload` are the bytes
    on the wire; `received_us` is ours, and differs for any two messages of a
    connection.
    """

    shard: int
    site_id: int
    connection_id: int
    session: int  # counts the TCP sessions of the connection; for the PUBACK
    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    mid: int
    received_us: int


class Entry(NamedTuple):
    """A message and what it says."""

    message: Message
    fact: Fact
