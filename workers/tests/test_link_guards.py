"""Whatever comes over the wire costs one link at most, and says why."""

from __future__ import annotations

import struct
import time

import pytest

from workers.link import MAX_PACKET_BYTES
from workers.pahoclient import Publish
from workers.tests.peers import (
    DISCONNECT,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Wired,
    connack,
    connack_v5,
    packet,
    publish,
    suback,
    varint,
    wired,
)

TOPIC = b"site_003/datalogger/monstro/15/data"


# -- greeting ------------------------------------------------------------------


def test_it_introduces_itself_as_the_spec_says():
    with wired() as pair:
        body = pair.greeted()

    assert body[:7] == b"\0\4MQTT\4"
    flags, keepalive = struct.unpack("!BH", body[7:10])
    assert flags == 0b1110_1100  # user, password, will retained at QoS 1, session kept
    assert keepalive == 15
    assert b"site_3_test" in body
    assert b"site_003/backend/status\0\7offline" in body
    assert b"CANARY-password" in body


def test_a_visit_has_no_will_and_a_clean_session():
    with wired(is_visit=True) as pair:
        body = pair.greeted()

    assert body[7] == 0b1100_0010
    assert b"backend/status" not in body


def test_mqtt_5_names_its_bounds():
    with wired(protocol="5") as pair:
        body = pair.greeted()

    assert body[6] == 5
    assert b"\x21" + struct.pack("!H", 2_000) in body  # Receive Maximum
    assert b"\x27" + struct.pack("!I", MAX_PACKET_BYTES) in body
    assert b"\x11" + struct.pack("!I", 86_400) in body  # Session Expiry Interval


@pytest.mark.parametrize("present", [True, False])
def test_it_tells_whether_the_broker_kept_our_session(present):
    with wired() as pair:
        pair.peer.send(connack(session_present=present))

        assert pair.hears("accepted") == ("accepted", present)


@pytest.mark.parametrize(("code", "told"), [(2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87)])
def test_every_refusal_of_3_1_1_is_told_in_the_codes_of_5(code, told):
    with wired() as pair:
        pair.peer.send(connack(code))

        assert pair.hears("refused")[1] == told
        assert not pair.link.was_accepted


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_broker_of_another_version_breaks_the_protocol(protocol):
    with wired(protocol=protocol) as pair:
        pair.peer.send(connack(1))

        pair.hears("closed" if protocol == "3.1.1" else "refused")

        assert not pair.link.was_accepted


@pytest.mark.parametrize("code", [0x85, 0x86, 0x87, 0x89, 0x97, 0x9D])
def test_every_refusal_of_5_is_told(code):
    with wired(protocol="5") as pair:
        pair.peer.send(connack_v5(code))

        assert pair.hears("refused")[1] == code


def test_a_broker_that_hangs_up_on_the_greeting_is_told():
    with wired() as pair:
        pair.peer.sock.close()

        pair.hears("closed")

        assert not pair.link.was_accepted
        assert not pair.link.broke_protocol


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 200,
        b"SSH-2.0-OpenSSH_9.2\r\n" + b"x" * 200,
        b"\0" * 64,
        b"\x20\xff\xff\xff\xff\xff",
        packet(0x20, b""),
        packet(0x20, b"\0"),
        packet(0xF0, b""),
    ],
)
def test_what_is_no_mqtt_breaks_the_protocol(answer):
    with wired() as pair:
        pair.peer.send(answer)

        pair.hears("closed")

        assert pair.link.broke_protocol
        assert not pair.link.was_accepted


# -- subscribing ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "refused"),
    [
        ((1, 1), []),
        ((0, 1), []),
        ((0x80, 1), ["site_003/gateway/+/heartbeat"]),
        (
            (0x80, 0x80),
            ["site_003/gateway/+/heartbeat", "site_003/datalogger/+/+/data"],
        ),
        ((1,), ["site_003/datalogger/+/+/data"]),
    ],
)
def test_refused_filters_are_told_by_name(codes, refused):
    with wired() as pair:
        pair.greeted()
        pair.link.subscribe(pair.link.spec.filters)
        pair.flushed()
        first, body = pair.peer.read()
        assert first & 0xF0 == SUBSCRIBE
        pair.peer.send(suback(struct.unpack("!H", body[:2])[0], *codes))

        assert pair.hears("subscribed") == ("subscribed", refused)


def test_unwanted_filters_are_unsubscribed():
    with wired() as pair:
        pair.greeted()

        pair.link.unsubscribe(["site_003/old/#"])
        pair.flushed()

        first, body = pair.peer.read()
    assert first & 0xF0 == UNSUBSCRIBE
    assert b"site_003/old/#" in body


# -- messages ------------------------------------------------------------------


def received(pair: Wired, sent: bytes) -> Publish:
    pair.peer.send(sent)
    return pair.messages(1)[0]


def test_a_topic_that_is_not_utf_8_is_delivered_as_its_bytes():
    with wired() as pair:
        pair.greeted()

        message = received(pair, publish(b"site_003/\xff\xfe", b"x", qos=1, mid=1))

        assert message.topic == b"site_003/\xff\xfe"
        assert not pair.link.is_closed


def test_nothing_is_acknowledged_by_itself():
    with wired() as pair:
        pair.greeted()
        received(pair, publish(TOPIC, b"x", qos=1, mid=1))

        assert not pair.link.wants_write


def test_dup_and_retain_are_delivered():
    with wired() as pair:
        pair.greeted()

        message = received(pair, publish(TOPIC, b"x", qos=1, mid=77, flags=0b1001))

    assert (message.dup, message.retain, message.qos, message.mid) == (1, 1, 1, 77)


@pytest.mark.parametrize("error", [ValueError("boom"), KeyError(), RecursionError()])
def test_an_exception_in_a_callback_costs_only_the_link(error):
    def explode(_: Publish) -> None:
        raise error

    with wired() as pair, wired() as other:
        pair.greeted()
        other.greeted()
        pair.heard.in_sink = explode
        pair.peer.send(publish(TOPIC, b"x"))

        pair.hears("closed")

        assert type(error).__name__ in pair.link.broke_protocol
        assert pair.peer.is_hung_up()
        assert received(other, publish(TOPIC, b"y")).payload == b"y"


@pytest.mark.parametrize(
    "broken",
    [
        packet(PUBLISH | 0b0110, b"\0\1t\0\1x"),  # QoS 3
        packet(PUBLISH, b""),  # no topic at all
        packet(PUBLISH, b"\xff\xff" + b"t" * 10),  # a topic longer than the packet
        b"\x30\xff\xff\xff\xff\x7f",  # five bytes of length
        packet(0x40, b"\0"),  # half a PUBACK
    ],
)
def test_a_packet_that_is_no_packet_ends_the_link(broken):
    with wired() as pair:
        pair.greeted()
        pair.peer.send(broken, publish(TOPIC, b"x"))

        pair.hears("closed")

        assert pair.link.broke_protocol


def test_an_acknowledgement_of_what_we_never_sent_is_harmless():
    with wired() as pair:
        pair.greeted()
        pair.peer.send(packet(0x40, b"\x12\x34"))

        assert received(pair, publish(TOPIC, b"x")).payload == b"x"


def test_a_packet_at_the_bound_is_taken():
    with wired() as pair:
        pair.greeted()
        header = 2 + len(TOPIC)
        payload = b"x" * (1_048_576 + 65_535 - header)

        assert len(received(pair, publish(TOPIC, payload)).payload) == len(payload)


def test_an_announced_packet_of_200_megabytes_ends_the_link_at_once():
    with wired() as pair:
        pair.greeted()
        pair.peer.send(bytes([PUBLISH]), varint(200_000_000), b"\0\1t")

        pair.hears("closed")

        assert "200000000" in pair.link.broke_protocol
        assert pair.heard.messages == []


def test_a_message_before_connack_breaks_the_protocol():
    """It would be stored, and acknowledged in a session that is not there yet."""
    with wired() as pair:
        pair.flushed()
        pair.peer.send(publish(TOPIC, b"x", qos=1, mid=1))

        pair.hears("closed")

        assert "before CONNACK" in pair.link.broke_protocol
        assert pair.heard.messages == []


def test_a_second_connack_breaks_the_protocol():
    """It would subscribe again, also on a link that is on its way out."""
    with wired() as pair:
        pair.greeted()
        pair.peer.send(connack())

        pair.hears("closed")

        assert "second CONNACK" in pair.link.broke_protocol
        assert [e for e in pair.heard.events if e[0] == "accepted"] == [
            ("accepted", False)
        ]


def test_connack_and_messages_of_an_old_session_may_come_in_one_piece():
    with wired() as pair:
        pair.flushed()
        pair.peer.send(
            connack(session_present=True), publish(TOPIC, b"x", qos=1, mid=1)
        )

        assert pair.messages(1)[0].payload == b"x"
        assert pair.heard.events == [("accepted", True)]


def test_properties_without_an_end_break_the_protocol_at_once():
    """A million bytes of an endless number would hold the thread for minutes."""
    with wired(protocol="5") as pair:
        pair.greeted()
        head = struct.pack("!H", len(TOPIC)) + TOPIC
        started = time.monotonic()
        pair.peer.send(packet(PUBLISH, head + b"\xff" * 1_000_000))

        pair.hears("closed")

        assert time.monotonic() - started < 5
        assert "malformed" in pair.link.broke_protocol


def test_a_message_of_mqtt_5_with_properties_is_delivered_and_acknowledged():
    with wired(protocol="5") as pair:
        pair.greeted()
        properties = b"\x02" + struct.pack("!I", 60) + b"\x03\0\4text"
        body = struct.pack("!H", len(TOPIC)) + TOPIC + struct.pack("!H", 9)
        pair.peer.send(
            packet(PUBLISH | 2, body + varint(len(properties)) + properties + b"{}")
        )

        message = pair.messages(1)[0]
        pair.link.acknowledge([message.mid])

        assert (message.topic, message.payload, message.mid) == (TOPIC, b"{}", 9)
        assert pair.peer.read() == (0x40, b"\0\x09")


def test_an_answer_to_a_subscription_that_was_never_asked_is_ignored():
    with wired() as pair:
        pair.greeted()
        mid = pair.link.subscribe(pair.link.spec.filters)
        pair.peer.send(suback(mid + 7, 0x80, 0x80), suback(mid, 1, 1))

        assert pair.hears("subscribed") == ("subscribed", [])


@pytest.mark.parametrize(("again", "handling"), [(False, 1), (True, 0)])
def test_mqtt_5_sends_retained_messages_once_or_again(again, handling):
    with wired(protocol="5") as pair:
        pair.greeted()
        pair.link.subscribe([("a", 1)], again=again)
        pair.flushed()

        body = pair.peer.read()[1]

    assert body[-1] == handling << 4 | 1


@pytest.mark.parametrize(("answer", "code"), [(b"\0\1", 0), (b"\0\1\x87\0", 0x87)])
def test_the_brokers_answer_to_a_message_of_ours_is_told(answer, code):
    with wired(protocol="5") as pair:
        pair.greeted()
        mid = pair.link.publish("t", "x", qos=1, retain=False)
        assert mid == 1
        pair.flushed()
        pair.peer.send(packet(0x40, answer))

        assert pair.hears("published") == ("published", 1, code)


# -- ends ----------------------------------------------------------------------


def test_our_goodbye_is_a_disconnect():
    with wired() as pair:
        pair.greeted()

        pair.link.disconnect()

        assert pair.peer.read() == (DISCONNECT, b"")
        assert ("closed",) in pair.heard.events
        assert pair.peer.is_hung_up()


def test_on_mqtt_5_the_goodbye_can_end_the_session():
    with wired(protocol="5") as pair:
        pair.greeted()

        pair.link.disconnect(end_session=True)

        assert pair.peer.read() == (DISCONNECT, b"\0\5\x11\0\0\0\0")


def test_a_goodbye_of_the_broker_says_why():
    with wired(protocol="5") as pair:
        pair.greeted()
        pair.peer.send(packet(DISCONNECT, b"\x8e\0"))

        pair.hears("closed")

        assert pair.link.server_code == 0x8E


@pytest.mark.parametrize("way", ["fin", "rst"])
def test_a_link_that_breaks_while_reading_is_lost_and_no_fault_of_the_protocol(way):
    with wired() as pair:
        pair.greeted()
        if way == "fin":
            pair.peer.sock.close()
        else:
            pair.peer.reset()

        pair.hears("closed")

        assert pair.link.broke_protocol == ""


def test_a_link_that_breaks_while_acknowledging_is_lost_and_no_fault_of_the_protocol():
    with wired() as pair:
        pair.greeted()
        received(pair, publish(TOPIC, b"x", qos=1, mid=1))
        pair.peer.reset()

        for _ in range(3):  # the first write may still succeed
            pair.link.acknowledge([1])
        pair.hears("closed")

        assert pair.link.broke_protocol == ""


def test_a_silent_broker_is_found_out_and_told_once():
    with wired(keepalive_s=1) as pair:
        pair.greeted()

        def misc() -> bool:
            pair.link.misc()
            return pair.link.is_closed

        pair.pump(misc)
        assert pair.link.was_silent
        pair.link.misc()

        assert pair.heard.events.count(("closed",)) == 1
        assert pair.link.broke_protocol == ""


def test_a_broker_that_never_answers_our_greeting_is_silent_and_no_refusal():
    with wired(keepalive_s=1) as pair:

        def misc() -> bool:
            pair.link.misc()
            return pair.link.is_closed

        pair.pump(misc)

        assert pair.link.was_silent
        assert not pair.link.was_accepted


def test_a_closed_link_takes_every_further_call():
    with wired() as pair:
        pair.greeted()
        pair.link.close()

        pair.link.misc()
        pair.link.on_readable()
        pair.link.on_writable()
        pair.link.subscribe(pair.link.spec.filters)
        pair.link.acknowledge([1])
        pair.link.disconnect()

        assert pair.link.publish("t", "x", qos=1, retain=False) == 0
        assert not pair.link.wants_write


def test_the_password_is_in_no_repr():
    with wired() as pair:
        assert "CANARY" not in repr(pair.link.spec) + repr(pair.link)
