"""Brokers that stall, lie and break the rules: it costs their own site, never more.

Seen through the whole system; all the ways to break the rules are in
`test_hostile_links.py`.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.fakebroker import (
    CONNECT,
    PINGREQ,
    SUBSCRIBE,
    FakeBroker,
    publish,
)
from tests.system import System, until

pytestmark = pytest.mark.system

MEGABYTE = 1024 * 1024
MOST_GROWTH = 150 * MEGABYTE

Answer = Callable[["Hostile", socket.socket, bytes], None]


class Hostile(FakeBroker):
    """A fake broker with some answers replaced; `be_good` takes them back."""

    def __init__(self, **lies: Answer) -> None:
        self.lies = {
            {"connect": CONNECT, "subscribe": SUBSCRIBE, "ping": PINGREQ}[name]: lie
            for name, lie in lies.items()
        }
        super().__init__()

    def be_good(self) -> None:
        self.lies.clear()

    def answer(self, client: socket.socket, head: int, body: bytes) -> None:
        lie = self.lies.get(head >> 4)
        if lie is None:
            super().answer(client, head, body)
        else:
            lie(self, client, body)


def silence(_broker: Hostile, _client: socket.socket, _body: bytes) -> None:
    """Answer nothing."""


def raw(answer: bytes) -> Answer:
    return lambda _broker, client, _body: client.sendall(answer)


def suback(codes: bytes) -> Answer:
    """Return an answer to any SUBSCRIBE with these codes."""
    return lambda broker, client, body: broker.grant(client, body, codes)


class Case:
    """A site with its own broker."""

    def __init__(self, system: System, fake: FakeBroker, name: str, **fields: Any):
        self.system, self.fake = system, fake
        self.site = system.make_site(name, fake.port, **fields)
        self.topic = f"{self.site['code']}/datalogger/a/1/data"
        self.memory = memory_of(system)

    def sees(self, status: str, reason: str | None = None) -> dict[str, Any]:
        return self.system.wait_status(self.site, status, reason)

    def again(self) -> None:
        """A person does not wait for the back-off."""
        self.system.connect(self.site)

    def stores(self, mid: int, value: float) -> None:
        """The next good message is stored and acknowledged, the worker unhurt."""
        before = self.fake.pubacks.count(mid)
        self.fake.send(mid, self.topic, b'{"values": {"n": %d}}' % value)
        until(lambda: self.fake.pubacks.count(mid) > before, "the PUBACK")
        until(lambda: value in self.system.values_of(self.site), "it is stored")
        assert memory_of(self.system) - self.memory < MOST_GROWTH

    def quarantined(self) -> list[str]:
        rows = self.system.sql(
            "SELECT reason FROM telemetry_quarantinedmessage WHERE site_id = %s "
            "ORDER BY id",
            self.site["id"],
        )
        return [row[0] for row in rows]


@pytest.fixture
def open_case(system: System) -> Iterator[Callable[..., Case]]:
    """Make cases; the worker of the session must survive all of them."""
    pid = system.processes["mqtt0"].pid
    with ExitStack() as stack:

        def make(fake: FakeBroker, name: str, **fields: Any) -> Case:
            stack.enter_context(fake)
            case = Case(system, fake, name, **fields)
            stack.callback(_leave, case)
            return case

        yield make
    assert system.processes["mqtt0"].popen.poll() is None  # type: ignore[union-attr]
    assert system.processes["mqtt0"].pid == pid


def _leave(case: Case) -> None:
    if isinstance(case.fake, Hostile):
        case.fake.be_good()
    case.system.stop_site(case.site)


def memory_of(system: System) -> int:
    """Return the most memory that the worker ever had, in bytes."""
    status = Path(f"/proc/{system.processes['mqtt0'].pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@contextmanager
def nothing_can_be_stored(system: System) -> Iterator[None]:
    blocker = psycopg2.connect(system.dsn)
    try:
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE telemetry_reading IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        blocker.rollback()
        blocker.close()


def batch_waits(case: Case) -> None:
    """Return when the batch waits for the lock, for which it has five seconds."""
    waiting = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    until(lambda: case.system.sql(waiting), "the batch waits")


# -- greeting and subscribing --------------------------------------------------


def test_a_broker_that_stalls_is_given_ten_seconds_wherever_it_does(open_case) -> None:
    """Before CONNACK, before SUBACK, and for ever on a link that is up."""
    mute = open_case(Hostile(connect=silence), "Mute")
    deaf = open_case(Hostile(subscribe=silence), "No SUBACK")
    gone = open_case(Hostile(ping=silence), "Half-open", keepalive=5)
    started = time.monotonic()
    gone.system.connect(gone.site)
    for case in (mute, deaf):
        case.system.start_site(case.site)
        assert case.system.status(case.site)["status"] == "connecting"

    lost = gone.sees("error", "lost")  # first: it comes back by itself
    mute.sees("error", "timeout")
    deaf.sees("error", "timeout")

    assert time.monotonic() - started < 60  # 11 s on a quiet machine
    assert "silent" in lost["error_message"]
    for case in (mute, deaf, gone):
        assert isinstance(case.fake, Hostile)
        case.fake.be_good()
        case.again()
        case.stores(1, 1)


def test_a_broker_that_claims_a_session_it_has_not_is_subscribed_to_anew(
    open_case,
) -> None:
    case = open_case(Hostile(connect=raw(b"\x20\x02\x01\x00")), "Liar")

    case.again()

    assert case.system.status(case.site)["session_present"] is True
    case.stores(1, 1)


@pytest.mark.parametrize(
    ("codes", "is_all"),
    [(b"\x80" * 9, True), (b"\x01" * 8 + b"\x80", False), (b"\x01" * 3, False)],
    ids=["all refused", "one refused", "too few codes"],
)
def test_a_subscription_that_is_not_confirmed_is_an_error(
    open_case, codes: bytes, is_all: bool
) -> None:
    case = open_case(Hostile(subscribe=suback(codes)), "Refuser")

    case.system.start_site(case.site)
    seen = case.sees("error", "subscribe")

    assert (case.site["code"] + "/gateway/+/heartbeat" in seen["error_message"]) is (
        is_all
    )
    case.fake.be_good()
    case.again()
    case.stores(1, 1)


def test_a_broker_that_grants_qos_0_is_not_simply_connected(open_case) -> None:
    """What it sends at QoS 0 is lost with any broken link: people have to know."""
    case = open_case(Hostile(subscribe=suback(b"\0" * 9)), "Stingy")

    case.again()
    seen = case.system.status(case.site)

    assert (seen["status"], seen["reason"]) == ("connected", "")
    assert seen["lowered_topics"] == seen["topics_list"]
    assert "lower QoS" in seen["error_message"]
    path = f"mqtt/sites/{case.site['id']}/events/"

    def told() -> tuple[str, str]:
        event = case.system.call("GET", path)["events"][0]
        return event["new_status"], event["detail"]

    words = ("connected", seen["error_message"])
    until(lambda: told() == words, "the timeline says so")  # it follows the status


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 200,
        b"\x20\xff\xff\xff\xff\xff",
        b"\x30\x02\0\0",
    ],
    ids=["HTTP", "endless length", "a message before CONNACK"],
)
def test_what_is_no_mqtt_is_an_error_of_the_protocol(open_case, answer: bytes) -> None:
    case = open_case(Hostile(connect=raw(answer)), "Stranger")

    case.system.start_site(case.site)
    case.sees("error", "protocol")

    case.fake.be_good()
    case.again()
    case.stores(1, 1)


# -- messages ------------------------------------------------------------------


def test_a_topic_that_is_not_utf_8_is_quarantined_and_blocks_nothing(
    open_case,
) -> None:
    case = open_case(FakeBroker(), "Bad topics")
    case.again()
    prefix = case.site["code"].encode() + b"/datalogger/a/"

    for mid, name in enumerate((b"\xff\xfe", b"\0", b"\xed\xa0\x80", b"\xc0\xaf"), 1):
        case.fake.send_raw(publish(mid, prefix + name + b"/data", b'{"values": {}}'))
    case.stores(5, 5)

    assert case.fake.connects == 1
    assert case.fake.pubacks == [1, 2, 3, 4, 5]
    assert case.quarantined() == ["topic_invalid"] * 4


def _too_long_a_topic(topic: bytes) -> bytes:
    return b"\x32\x06" + struct.pack("!H", 60_000) + topic[:4]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (lambda _topic: b"\x32\xff\xff\xff\x7f", "268435455 bytes"),
        (_too_long_a_topic, "malformed PUBLISH"),
        (lambda _topic: b"\xf0\x00", ""),
    ],
    ids=["256 MB announced", "topic beyond the packet", "reserved packet"],
)
def test_a_packet_against_the_rules_ends_the_link_and_says_so(
    open_case, data: Callable[[bytes], bytes], detail: str
) -> None:
    case = open_case(FakeBroker(), "Rule breaker")
    case.again()

    case.fake.send_raw(data(case.topic.encode()))
    seen = case.sees("error", "protocol")

    assert detail in seen["error_message"]
    case.again()
    case.stores(1, 1)
    assert case.system.values_of(case.site) == [1]


def test_a_message_of_which_the_end_never_comes_leaves_nothing(open_case) -> None:
    case = open_case(FakeBroker(), "Truncated")
    case.again()
    whole = publish(9, case.topic.encode(), b'{"values": {"n": 9}}')

    case.fake.send_raw(whole[:-1])
    case.fake.cut()
    case.sees("error", "lost")

    case.again()
    case.stores(1, 1)
    assert case.system.values_of(case.site) == [1]
    assert case.fake.pubacks == [1]


def test_pubacks_for_what_we_never_sent_are_harmless(open_case) -> None:
    case = open_case(FakeBroker(), "Confirmer")
    case.again()

    case.fake.send_raw(b"".join(b"\x40\x02" + struct.pack("!H", n) for n in range(9)))
    case.stores(1, 1)

    assert case.fake.connects == 1


def test_a_packet_id_that_is_used_again_before_its_puback_loses_nothing(
    open_case,
) -> None:
    case = open_case(FakeBroker(), "Reuser")
    case.again()
    with nothing_can_be_stored(case.system):
        for n in (1, 2, 2, 3):  # two equal readings are two
            case.fake.send(7, case.topic, b'{"values": {"n": %d}}' % n)
        time.sleep(0.5)
        assert case.fake.pubacks == []

    until(lambda: case.fake.pubacks == [7] * 4, "four PUBACKs")

    assert case.system.values_of(case.site) == [1, 2, 2, 3]


def test_a_commit_never_acknowledges_another_sessions_message(open_case) -> None:
    """The link breaks while a batch waits; the new session uses its packet id again."""
    case = open_case(FakeBroker(), "Two sessions")
    case.again()
    with nothing_can_be_stored(case.system):
        case.fake.send(1, case.topic, b'{"values": {"n": 1}}')
        batch_waits(case)
        case.fake.cut()
        case.sees("error", "lost")
        case.system.start_site(case.site)
        case.fake.wait_connects(2)
        case.fake.send(1, case.topic, b'{"values": {"n": 2}}')
        time.sleep(0.1)
        assert case.fake.pubacks == []

    case.stores(2, 3)

    assert case.fake.pubacks == [1, 2]  # nobody waits for the first one any more
    assert case.system.values_of(case.site) == [1, 2, 3]


def test_a_redelivery_while_the_first_one_waits_is_stored_once(open_case) -> None:
    case = open_case(FakeBroker(), "Impatient")
    case.again()
    with nothing_can_be_stored(case.system):
        body = b'{"values": {"n": 1}}'
        case.fake.send(1, case.topic, body)
        batch_waits(case)
        case.fake.cut()
        case.sees("error", "lost")
        case.system.start_site(case.site)
        case.fake.wait_connects(2)
        case.fake.send(1, case.topic, body, dup=True)

    case.stores(2, 2)

    assert case.fake.pubacks == [1, 2]
    assert case.system.values_of(case.site) == [1, 2]
    assert case.system.stats_of(case.site)["duplicate"] == 1


def test_a_broker_that_ignores_our_window_fills_no_memory(open_case) -> None:
    """50,000 messages of 1 KiB unconfirmed, with the database locked meanwhile."""
    case = open_case(FakeBroker(), "Flood")
    case.again()
    name, count = case.topic.encode(), 50_000
    body = b'{"values": {"n": 1}, "pad": "%s"}' % (b"x" * 1_000)
    block = [publish(n % 65_535 + 1, name, body) for n in range(count)]

    def flood() -> None:
        with suppress(OSError):  # it is hung up on, sooner or later
            case.fake.send_raw(b"".join(block))

    sending = threading.Thread(target=flood, daemon=True)
    with nothing_can_be_stored(case.system):
        sending.start()
        sending.join(30)  # suspended: no room for four seconds
        assert not sending.is_alive()

    assert memory_of(case.system) - case.memory < MOST_GROWTH
    case.fake.wait_connects(2)
    case.sees("connected")
    case.stores(65_535, 7)

    def stats() -> dict[str, Any]:
        return dict(case.system.stats_of(case.site))

    until(lambda: (now := stats())["received"] == now["stored"], "all are stored")
    assert stats()["dropped"] == 0


# -- MQTT 5 --------------------------------------------------------------------


def test_a_disconnect_with_any_reason_is_a_lost_link_that_comes_back(
    open_case,
) -> None:
    """Also with reasons that no broker may give, or that nobody has heard of."""
    case = open_case(FakeBroker(), "Hangs up", protocol="5")
    case.again()

    for code in (0x00, 0x04, 0x8B, 0x8E, 0x9D, 0x42):
        case.fake.send_raw(b"\xe0\x02%c\x00" % code)
        seen = case.sees("error")
        is_known = code != 0x42
        assert seen["reason"] == ("lost" if is_known else "protocol"), hex(code)
        if is_known and code:
            assert f"0x{code:02X}" in seen["error_message"]
        case.again()

    case.stores(1, 1)
