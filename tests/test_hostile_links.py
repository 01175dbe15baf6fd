"""Every way to break the rules of MQTT 3.1.1 and 5, against one network thread.

All brokers of this file are of one supervisor, as the sites of a worker are. What one
of them does may cost its own link: with the true reason, and nobody else's.
"""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import NamedTuple

import pytest

from apps.telemetry.facts import Message
from tests.fakebroker import CONNECT, PINGREQ, SUBSCRIBE, FakeBroker, length, publish
from tests.proxy import Proxy
from workers import connection, subscriptions
from workers.snapshot import Snapshot
from workers.spec import ConnectionSpec
from workers.tests.brokers import Running, running, until
from workers.tests.fakes import a_spec

MEGABYTE = 1024 * 1024
MOST_GROWTH = 100 * MEGABYTE

Answer = Callable[["Hostile", socket.socket, bytes], None]


class Hostile(FakeBroker):
    """A fake broker with some answers replaced, until it is good again."""

    def __init__(self, lies: dict[int, Answer] | None = None) -> None:
        self.lies = lies or {}
        super().__init__()

    def answer(self, client: socket.socket, head: int, body: bytes) -> None:
        if head >> 4 == CONNECT:
            self.is_v5 = body[6] == 5
        lie = self.lies.get(head >> 4)
        if lie is None:
            super().answer(client, head, body)
        else:
            lie(self, client, body)


def raw(answer: bytes) -> Answer:
    return lambda _broker, client, _body: client.sendall(answer)


def connack(flags: int, code: int) -> Answer:
    def answer(broker: Hostile, client: socket.socket, _body: bytes) -> None:
        client.sendall(broker.packet(0x20, bytes([flags, code]), properties=True))

    return answer


def grants(codes: bytes) -> Answer:
    return lambda broker, client, body: broker.grant(client, body, codes)


def silence(_broker: Hostile, _client: socket.socket, _body: bytes) -> None:
    """Answer nothing."""


def hang_up(_broker: Hostile, client: socket.socket, _body: bytes) -> None:
    client.shutdown(socket.SHUT_RDWR)


def end_in_connack(broker: Hostile, client: socket.socket, body: bytes) -> None:
    client.sendall(b"\x20\x03\x00")
    hang_up(broker, client, body)


class Stage:
    """A supervisor with one connection after another, and two that must not notice."""

    numbers = count(1_000)

    def __init__(self, run: Running) -> None:
        self.run = run
        self.brokers: list[FakeBroker] = []
        self.bystanders = [self.connect(FakeBroker(), "3.1.1")]
        self.bystanders.append(self.connect(FakeBroker(), "5"))
        self.memory = peak_memory()

    def connect(self, broker: FakeBroker, protocol: str) -> Case:
        case = self.case(broker, protocol)
        case.sees("connected")
        # Else the PUBACK of the birth could end what a test leaves unfinished.
        until(lambda: broker.published, lambda: "the birth is confirmed")
        return case

    def case(self, broker: FakeBroker, protocol: str, port: int = 0) -> Case:
        self.brokers.append(broker)
        number = next(self.numbers)
        spec = a_spec(
            connection_id=number,
            site_id=number,
            host="127.0.0.1",
            port=port or broker.port,
            client_id=f"site_{number}",
            protocol=protocol,
            keepalive_s=60,
        )
        self.run.ensure(spec)
        return Case(self.run, broker, spec)

    def is_unhurt(self) -> bool:
        """Nobody else has noticed, and no memory is gone."""
        for number, each in enumerate(self.bystanders, 1):
            assert each.broker.connects == 1
            assert each.statuses == ["connecting", "connected"]
            each.stores(number)
        return peak_memory() - self.memory < MOST_GROWTH


class Case(NamedTuple):
    run: Running
    broker: FakeBroker
    spec: ConnectionSpec

    @property
    def snapshots(self) -> list[Snapshot]:
        mine = self.spec.connection_id
        return [s for s in list(self.run.snapshots) if s.connection_id == mine]

    @property
    def statuses(self) -> list[str]:
        return [s.status for s in self.snapshots]

    def sees(self, *statuses: str) -> Snapshot:
        """Wait for one of these statuses, in a report after the command."""

        def last() -> Snapshot | None:
            said = [s for s in self.snapshots if s.generation == self.spec.generation]
            return said[-1] if said and said[-1].status in statuses else None

        found: Snapshot = until(
            last, lambda: f"{statuses}, it is {self.snapshots[-1:]}"
        )
        return found

    def again(self) -> Case:
        """A person presses start: no waiting for the back-off."""
        spec = a_spec(
            **{
                name: getattr(self.spec, name)
                for name in self.spec.__dataclass_fields__
                if name != "generation"
            },
            generation=self.spec.generation + 1,
        )
        self.run.ensure(spec)
        return self._replace(spec=spec)

    def stores(self, mid: int) -> Message:
        """A good message arrives."""
        inbox = self.run.inboxes.of(self.spec.connection_id)
        self.broker.send(mid, "site_003/datalogger/a/1/data", b'{"values": {}}')
        taken: list[Message] = []

        def mine() -> list[Message]:
            messages = inbox.take(1_000, 0.05)
            inbox.done(messages)
            number = self.spec.connection_id
            taken.extend(m for m in messages if m.connection_id == number)
            return [m for m in taken if m.mid == mid]

        message: Message = until(mine, lambda: f"message {mid}")[0]
        assert message.payload == b'{"values": {}}'
        return message


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with running() as run:
        stage = Stage(run)
        yield stage
    for broker in stage.brokers:
        with suppress(OSError):
            broker.__exit__()


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    yield shared
    assert shared.is_unhurt()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Wait no ten seconds for an answer, where it is expected that none comes."""

    def be(reason: str) -> None:
        if reason == "timeout":
            for module in (connection, subscriptions):
                monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 1.0)

    return be


@pytest.fixture(params=["3.1.1", "5"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def comes_back(case: Case) -> None:
    """With a good broker all is well again."""
    if isinstance(case.broker, Hostile):
        case.broker.lies.clear()
    back = case.again()
    back.sees("connected")
    back.stores(77)


# -- greeting ------------------------------------------------------------------

GREETINGS: dict[str, tuple[Answer, str]] = {
    "silence": (silence, "timeout"),
    "hangs up": (hang_up, "auth"),
    "HTTP": (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 200), "protocol"),
    "length of five bytes": (raw(b"\x20\xff\xff\xff\xff\xff"), "protocol"),
    "256 MB": (raw(b"\x20\xff\xff\xff\x7f" + b"x" * 70_000), "protocol"),
    "a message first": (raw(b"\x30\x02\0\0"), "protocol"),
    "SUBACK first": (raw(b"\x90\x03\x00\x01\x00"), "timeout"),
    "CONNACK without body": (raw(b"\x20\x00"), "protocol"),
    "CONNACK of one byte": (raw(b"\x20\x01\x00"), "protocol"),
    "end in CONNACK": (end_in_connack, "auth"),
    "an unknown code": (connack(0, 0x42), "protocol"),
}
REFUSALS = {
    "3.1.1": {1: "protocol", 2: "config", 3: "refused", 4: "auth", 5: "auth"},
    "5": {
        0x80: "protocol",
        0x84: "protocol",
        0x85: "config",
        0x86: "auth",
        0x87: "auth",
        0x88: "refused",
        0x89: "refused",
        0x8A: "auth",
        0x97: "refused",
        0x9D: "refused",
        0x9F: "refused",
    },
}


@pytest.mark.parametrize("name", GREETINGS)
def test_a_greeting_against_the_rules_is_an_error(
    stage: Stage, protocol: str, name: str, impatient: Callable[[str], None]
) -> None:
    lie, reason = GREETINGS[name]
    impatient(reason)
    case = stage.case(Hostile({CONNECT: lie}), protocol)

    seen = case.sees("error")

    assert (seen.reason, seen.topics) == (reason, ()), seen.detail
    comes_back(case)


def test_a_refusal_says_why(stage: Stage, protocol: str) -> None:
    cases = {
        code: stage.case(Hostile({CONNECT: connack(0, code)}), protocol)
        for code in REFUSALS[protocol]
    }

    reasons = {code: case.sees("error").reason for code, case in cases.items()}

    assert reasons == REFUSALS[protocol]


@pytest.mark.parametrize("flags", [0x01, 0xFE])
def test_a_session_that_is_claimed_and_flags_that_are_reserved_are_borne(
    stage: Stage, protocol: str, flags: int
) -> None:
    case = stage.case(Hostile({CONNECT: connack(flags, 0)}), protocol)

    case.sees("connected", "error")

    comes_back(case)


# -- subscribing ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (silence, "timeout"),
        (grants(b"\x80\x80"), "subscribe"),
        (grants(b"\x01\x80"), "subscribe"),
        (grants(b"\x01"), "subscribe"),
        (grants(b""), "subscribe"),
        (raw(b"\x90\x01\x00"), "protocol"),
        (raw(b"\x90\x00"), "protocol"),
        (raw(b"\x90\x05\xff\xff\x00\x01\x01"), "timeout"),
    ],
    ids=[
        "silence",
        "all refused",
        "one refused",
        "too few",
        "none",
        "truncated",
        "empty",
        "of another id",
    ],
)
def test_a_subscription_that_is_not_confirmed_is_an_error(
    stage: Stage,
    protocol: str,
    lie: Answer,
    reason: str,
    impatient: Callable[[str], None],
) -> None:
    impatient(reason)
    case = stage.case(Hostile({SUBSCRIBE: lie}), protocol)

    seen = case.sees("error")

    assert seen.reason == reason, seen.detail
    assert "connected" not in case.statuses
    comes_back(case)


@pytest.mark.parametrize(
    ("codes", "lowered"), [(b"\0\0", 2), (b"\x01\0", 1), (b"\x01\x01", 0)]
)
def test_a_lower_qos_than_asked_is_connected_and_said(
    stage: Stage, protocol: str, codes: bytes, lowered: int
) -> None:
    case = stage.case(Hostile({SUBSCRIBE: grants(codes)}), protocol)

    seen = case.sees("connected")

    assert len(seen.lowered_topics) == lowered
    assert bool(seen.detail) is bool(lowered)
    comes_back(case)


# -- a link that is up ---------------------------------------------------------

TOPIC = b"site_003/datalogger/a/1/data"
BREACHES: dict[str, bytes] = {
    "length of five bytes": b"\x32\x80\x80\x80\x80\x01",
    "256 MB announced": b"\x32\xff\xff\xff\x7f",
    "256 MB announced for a PUBACK": b"\x40\xff\xff\xff\x7f",
    "topic beyond the packet": b"\x32\x06" + struct.pack("!H", 60_000) + b"abcd",
    "no packet id": b"\x32\x03\x00\x01a",
    "empty PUBLISH": b"\x32\x00",
    "QoS 2": b"\x34" + publish(1, TOPIC, b"{}")[1:],
    "QoS 3": b"\x36" + publish(1, TOPIC, b"{}")[1:],
    "packet id 0": publish(0, TOPIC, b"{}"),
    "second CONNACK": b"\x20\x02\x00\x00",
    "PUBACK without id": b"\x40\x01\x00",
    "PUBACK without body": b"\x40\x00",
    "SUBACK without id": b"\x90\x01\x00",
    "UNSUBACK without id": b"\xb0\x01\x00",
    "type 0": b"\x00\x00",
    "CONNECT": b"\x10\x00",
    "SUBSCRIBE": b"\x82\x05\x00\x01\x00\x00\x01",
    "UNSUBSCRIBE": b"\xa2\x04\x00\x01\x00\x00",
}
BREACHES_V5 = {
    "AUTH": b"\xf0\x02\x18\x00",
    "properties beyond the packet": b"\x32\x07\x00\x01a\x00\x01\x7f\x00",
    "alias of nothing": b"\x32\x08\x00\x00\x00\x01\x03\x23\x00\x07",
    "unknown reason": b"\xe0\x02\x42\x00",
}
BREACHES_V311 = {"reserved type 15": b"\xf0\x00"}


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        *(("3.1.1", name) for name in (*BREACHES, *BREACHES_V311)),
        *(("5", name) for name in (*BREACHES, *BREACHES_V5)),
    ],
)
def test_a_packet_against_the_rules_ends_the_link(
    stage: Stage, protocol: str, name: str
) -> None:
    data = {**BREACHES, **BREACHES_V311, **BREACHES_V5}[name]
    case = stage.connect(Hostile(), protocol)

    case.broker.send_raw(data)
    seen = case.sees("error")

    assert seen.reason == "protocol", seen.detail
    assert seen.detail
    comes_back(case)


HARMLESS = {
    "PUBACKs for what was never sent": b"".join(
        b"\x40\x02" + struct.pack("!H", n) for n in range(1, 40)
    ),
    "PUBREC for nothing": b"\x50\x02\x00\x09",
    "PUBREL for nothing": b"\x62\x02\x00\x09",
    "PUBCOMP for nothing": b"\x70\x02\x00\x09",
    "SUBACK for nothing": b"\x90\x03\x7f\xff\x00",
    "UNSUBACK for nothing": b"\xb0\x02\x7f\xff",
    "PINGRESPs": b"\xd0\x00" * 50,
    "reserved bits": b"\x4f\x02\x00\x09\xdf\x00",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_answers_nothing_is_borne_or_ends_the_link(
    stage: Stage, protocol: str, name: str
) -> None:
    """Never anything in between: a link that says it is connected brings messages."""
    case = stage.connect(Hostile(), protocol)

    inbox = stage.run.inboxes.of(case.spec.connection_id)

    case.broker.send_raw(HARMLESS[name])
    with suppress(OSError):
        case.broker.send(5, TOPIC.decode(), b"x")

    until(
        lambda: inbox.depth_of(case.spec.connection_id) or "error" in case.statuses,
        lambda: "neither a message nor an error",
    )
    reasons = {each.reason for each in case.snapshots}
    assert reasons <= {"", "protocol"}
    comes_back(case)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\0", b"\xed\xa0\x80", b"+", b"#", b""])
def test_a_topic_that_no_broker_may_use_arrives_as_it_is(
    stage: Stage, protocol: str, name: bytes
) -> None:
    """What it is worth is for the decoder to say: it quarantines, and acknowledges."""
    case = stage.connect(Hostile(), protocol)

    case.broker.send_raw(publish(3, b"a/" + name, b"x", v5=protocol == "5"))
    case.stores(4)

    assert case.broker.connects == 1


def test_a_message_of_which_the_end_never_comes_is_none(
    stage: Stage, protocol: str
) -> None:
    case = stage.connect(Hostile(), protocol)

    case.broker.send_raw(publish(9, TOPIC, b"x" * 500, v5=protocol == "5")[:-1])
    case.broker.cut()
    seen = case.sees("error")

    assert seen.reason == "lost"
    inbox = stage.run.inboxes.of(case.spec.connection_id)
    assert inbox.depth_of(case.spec.connection_id) == 0
    comes_back(case)


def test_a_broker_that_sends_byte_by_byte_is_understood(
    stage: Stage, protocol: str
) -> None:
    broker = Hostile()
    with Proxy(broker.port) as proxy:
        proxy.slow(slice_bytes=1)
        case = stage.case(broker, protocol, proxy.port)

        case.sees("connected")
        case.stores(5)
        assert broker.connects == 1

        proxy.reset()
        assert case.sees("error").reason == "lost"
        stage.run.supervisor.drop(case.spec)  # the port may be another broker's soon


@pytest.mark.parametrize("code", [0x00, 0x04, 0x81, 0x82, 0x8B, 0x8D, 0x8E, 0x98, 0xA2])
def test_a_disconnect_with_any_reason_is_a_lost_link(stage: Stage, code: int) -> None:
    case = stage.connect(Hostile(), "5")

    case.broker.send_raw(b"\xe0\x02%c\x00" % code)
    seen = case.sees("error")

    assert seen.reason == "lost"
    if code:
        assert f"0x{code:02X}" in seen.detail
    comes_back(case)


def test_ids_that_are_used_again_before_their_puback_are_two_messages(
    stage: Stage, protocol: str
) -> None:
    case = stage.connect(Hostile(), protocol)

    for payload in (b"1", b"2"):
        case.broker.send_raw(publish(7, TOPIC, payload, v5=protocol == "5"))

    inbox = stage.run.inboxes.of(case.spec.connection_id)
    until(
        lambda: inbox.depth_of(case.spec.connection_id) == 2,
        lambda: f"two messages, not {inbox.depth}",
    )
    case.stores(8)


def test_a_broker_that_ignores_our_window_and_our_size_fills_no_memory(
    stage: Stage, protocol: str
) -> None:
    """A megabyte and more in one packet: hung up on before it is read."""
    case = stage.connect(Hostile(), protocol)
    size = 3 * MEGABYTE

    with suppress(OSError):
        case.broker.send_raw(
            b"\x32" + length(size) + b"\x00\x01a\x00\x07" + b"x" * size
        )
    seen = case.sees("error")

    assert seen.reason == "protocol"
    assert str(size) in seen.detail
    comes_back(case)


def test_a_link_that_is_silent_is_given_up(stage: Stage, protocol: str) -> None:
    """No PINGRESP. Keepalives of 5 s are the shortest; here one is due at once."""
    broker = Hostile({PINGREQ: silence})
    case = stage.connect(broker, protocol)

    link = stage.run.supervisor._connections[case.spec.connection_id].link
    assert link is not None
    stage.run.supervisor.post(lambda: link._client.__setattr__("_keepalive", 1))
    seen = case.sees("error")

    assert seen.reason == "lost"
    assert "silent" in seen.detail
