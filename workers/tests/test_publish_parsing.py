"""A PUBLISH taken apart by us is what paho makes of it; a malformed one is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from workers.pahoclient import Publish, parse_publish, whole_publish


def body_of(
    topic: bytes, payload: bytes, *, mid: int, properties: bytes = b""
) -> bytes:
    packet_id = struct.pack("!H", mid) if mid else b""
    return struct.pack("!H", len(topic)) + topic + packet_id + properties + payload


def framed(head: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([head]) + bytes(length) + body


def what_paho_says(head: int, body: bytes, protocol: MQTTProtocolVersion) -> Publish:
    heard: list[MQTTMessage] = []
    client = Client(CallbackAPIVersion.VERSION2, protocol=protocol, manual_ack=True)
    client._sock = None
    client.on_message = lambda _c, _u, message: heard.append(message)
    client._in_packet["command"] = head
    client._in_packet["packet"] = bytearray(body)
    client._handle_publish()
    said = heard[0]
    return Publish(
        said._topic, bytes(said.payload), said.qos, said.retain, said.dup, said.mid
    )


@given(
    topic=st.text(min_size=1, max_size=200).map(str.encode),
    payload=st.binary(max_size=300),
    qos=st.integers(0, 1),
    mid=st.integers(1, 65_535),
    retain=st.booleans(),
    dup=st.booleans(),
    is_v5=st.booleans(),
)
def test_it_agrees_with_paho(
    *,
    topic: bytes,
    payload: bytes,
    qos: int,
    mid: int,
    retain: bool,
    dup: bool,
    is_v5: bool,
) -> None:
    head = 0x30 | (dup and qos) << 3 | qos << 1 | retain
    properties = b""
    if is_v5:
        extra = Properties(PacketTypes.PUBLISH)
        extra.UserProperty = ("n", "x" * 150)
        properties = extra.pack()
    body = body_of(topic, payload, mid=mid if qos else 0, properties=properties)

    packet = framed(head, body)
    found = whole_publish(packet, 0)
    assert found is not None
    ours = parse_publish(packet, packet[0], *found, is_v5)

    assert found[1] == len(packet)
    assert ours == what_paho_says(head, body, MQTTv5 if is_v5 else MQTTv311)


def test_a_packet_that_is_not_whole_is_left_for_later() -> None:
    packet = framed(0x32, body_of(b"a/b", b"x" * 500, mid=7))

    assert all(whole_publish(packet[:size], 0) is None for size in range(len(packet)))


def test_another_packet_is_left_for_paho() -> None:
    assert whole_publish(b"\xd0\x00", 0) is None


def test_a_length_of_five_bytes_is_left_for_paho_to_refuse() -> None:
    assert whole_publish(b"\x30\xff\xff\xff\xff\x01" + b"x" * 50, 0) is None


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (0x34, body_of(b"a", b"x", mid=1)),  # QoS 2: we never asked for it
        (0x36, body_of(b"a", b"x", mid=1)),  # QoS 3 does not exist
        (0x32, body_of(b"a", b"", mid=0) + b"\x00\x00"),  # packet id 0
        (0x30, struct.pack("!H", 50) + b"short"),  # a topic beyond the packet
        (0x32, body_of(b"a", b"", mid=0)),  # no packet id at all
        (0x30, b""),
    ],
)
def test_a_malformed_one_is_refused(head: int, body: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        parse_publish(body, head, 0, len(body), False)


def test_properties_beyond_the_packet_are_refused() -> None:
    body = body_of(b"a", b"", mid=0, properties=b"\xff\x7f")

    with pytest.raises(ValueError, match="malformed"):
        parse_publish(body, 0x30, 0, len(body), True)
