"""The simulated fleet against a real broker; a subscriber counts what arrives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Thread, Timer
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from embedded.broker import Broker
from project.broker_url import BrokerUrl
from project.demo import DEMO_SITES, Habit, temperature
from tests.fakebroker import CONNECT, DISCONNECT, FakeBroker
from workers.fleet.crew import Crew, Pace, Slot, crews_of
from workers.fleet.devices import Device, Profile
from workers.fleet.engine import Engine, Limits
from workers.fleet.link import LinkOptions
from workers.fleet.tally import Tally

ROOT = Path(__file__).resolve().parent.parent
LOGIN = {"fleet": "p@ss:word"}
PATIENCE_S = 30.0

pytestmark = pytest.mark.system


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", users=LOGIN) as running:
        yield running


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


class Subscriber:
    """Keeps (topic, payload, retain) of all that a broker delivers at QoS 1."""

    def __init__(self, broker: Broker) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self._is_subscribed = False
        url = BrokerUrl.parse(broker.url)
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(url.username, url.password)
        self._client.on_message = lambda _c, _u, m: self.got.append(
            (m.topic, bytes(m.payload), m.retain)
        )
        self._client.on_subscribe = lambda *_: setattr(self, "_is_subscribed", True)
        self._client.on_connect = lambda client, *_: client.subscribe("+/#", 1)
        self._client.connect(url.host, url.port)
        self._client.loop_start()
        until(lambda: self._is_subscribed, "subscribed")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, words: str) -> None:
        self._client.publish(topic, words, qos=1)

    def live(self, ending: str = "") -> list[tuple[str, bytes]]:
        return [
            (t, p) for t, p, retain in self.got if not retain and t.endswith(ending)
        ]


@contextmanager
def subscribed(broker: Broker) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker)
    try:
        yield subscriber
    finally:
        subscriber.close()


@contextmanager
def simulate(*arguments: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """Run `manage.py simulate_fleet` as a process; it never outlives the block."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "simulate_fleet", *arguments],
        cwd=ROOT,
        env={**os.environ, "MQTT_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """End a process that a test would otherwise read from for ever."""
    timer = Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def summary_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


@contextmanager
def running(engine: Engine) -> Iterator[Callable[[], Tally]]:
    """Run an engine in a thread; the given call stops it and returns its tally."""
    thread = Thread(target=engine.run)
    thread.start()

    def stop() -> Tally:
        engine.stop()
        thread.join(10)
        assert not thread.is_alive()
        return engine.tally

    try:
        yield stop
    finally:
        stop()


def crew_of_one(habit: Habit | None = None, *, every_s: float = 0.1) -> Crew:
    profile = Profile(
        base="site_001/datalogger/monstro/1",
        serial="MONSTR-001",
        label="Uno",
        sensors=(temperature("t_ext", "", 20),),
        data_every_s=every_s,
        stamp="us",
        habit=habit or Habit(),
    )
    return Crew("one", (Slot(Device(profile), Random(1)),))


def options(broker: Broker, **other) -> LinkOptions:
    return LinkOptions(BrokerUrl.parse(broker.url), run="test", **other)


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_what_it_counts_is_what_arrives(broker: Broker, protocol: str):
    url = broker.url if protocol == "3.1.1" else broker.v5_url
    arguments = [
        "--messages",
        "900",
        "--sites",
        "2",
        "--devices",
        "5",
        "--sensors",
        "3",
    ]
    arguments += ["--malformed", "0.05", "--json", "--quiet", "--protocol", protocol]

    # A subscriber's queue at the broker holds about 1,000 messages: stay below.
    with subscribed(broker) as subscriber, simulate(*arguments, url=url) as process:
        summary = summary_of(process)
        until(lambda: len(subscriber.live()) >= summary["acked"], "everything arrived")

    kinds = summary["published_by_kind"]
    arrived = Counter(topic.rsplit("/", 1)[1] for topic, _ in subscriber.live())
    assert summary["acked_by_kind"] == kinds
    assert kinds["heartbeat"] + kinds["data"] + kinds["malformed"] == 900
    # Birth and farewell, gateways too, of each site. On a busy machine the first site
    # has published everything before the connection of the second is there.
    sites = {topic.split("/", 1)[0] for topic, _ in subscriber.live()}
    assert kinds["status"] == 2 * (5 + 1) * len(sites)
    assert arrived == {
        "status": kinds["status"],
        "heartbeat": kinds["heartbeat"],
        "data": kinds["data"] + kinds["malformed"],
    }
    assert summary["values"] == summary["acked_values"] == 3 * kinds["data"]


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_datalogger_of_the_demo_answers_a_command(broker: Broker, protocol: str):
    crew = next(c for c in crews_of(DEMO_SITES, Pace(), seed=1) if len(c.slots) > 1)
    base = crew.slots[1].device.profile.base

    with subscribed(broker) as subscriber:
        url = broker.v5_url if protocol == "5" else broker.url
        links = LinkOptions(BrokerUrl.parse(url), run="test", protocol=protocol)
        with running(Engine([crew], links)):
            until(lambda: subscriber.live(f"{base}/heartbeat"), "the device is there")
            subscriber.publish(f"{base}/input", "start")
            until(lambda: subscriber.live(f"{base}/output"), "its answer")

    [(_, answer)] = subscriber.live(f"{base}/output")
    assert json.loads(answer)["result"] == "ok"
    assert json.loads(answer)["command"] == "start"


def test_no_reading_repeats_another(broker: Broker):
    arguments = ("--messages", "500", "--devices", "2", "--interval", "0", "--quiet")

    with subscribed(broker) as subscriber:
        with simulate(*arguments, "--json", url=broker.url) as process:
            summary = summary_of(process)
        until(lambda: len(subscriber.live("/data")) >= 500, "all data arrived")

    keys = {
        (topic, json.loads(payload)["ts"])
        for topic, payload in subscriber.live("/data")
    }
    assert len(keys) == summary["published_by_kind"]["data"] == 500


def test_it_paces_itself(broker: Broker):
    arguments = ("--rate", "200", "--duration", "4", "--devices", "20", "--quiet")

    with simulate(*arguments, "--json", url=broker.url) as process:
        summary = summary_of(process)

    kinds = summary["acked_by_kind"]
    # 800 in 4 s. A pause at either end costs 200 a second; a flood sends 10,000s.
    assert 100 < kinds["data"] + kinds["heartbeat"] < 1_000


def test_sigterm_ends_the_demo_at_once_with_everybody_offline(broker: Broker):
    devices = sum(len(s.gateways) + len(s.dataloggers) for s in DEMO_SITES)

    with subscribed(broker) as subscriber:
        with simulate("--demo", url=broker.url) as process:
            until(
                lambda: (
                    len(subscriber.live("/status")) >= devices
                    and subscriber.live("/heartbeat")
                ),
                "all births",
            )
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            code = process.wait(30)
            took = time.monotonic() - began
        until(lambda: len(subscriber.live("/status")) >= 2 * devices, "all farewells")

    assert code == 0
    assert took < 10  # two are promised; 0.16 on a quiet machine, 2.7 on a full one
    with subscribed(broker) as late:
        until(lambda: len(late.got) >= devices, "the retained statuses")
        assert {retain for _, _, retain in late.got} == {True}
        assert {payload for _, payload, _ in late.got} == {
            b"offline",
            b'{"state":"offline"}',
        }


def test_a_crash_makes_the_broker_publish_the_will(broker: Broker):
    habit = Habit("crashing", first_after_s=0.5, every_s=60, lasts_s=1)

    with subscribed(broker) as subscriber:
        engine = Engine([crew_of_one(habit)], options(broker))
        with running(engine) as stop:
            until(lambda: len(subscriber.live("/status")) >= 3, "birth, will, birth")
            until(lambda: subscriber.live()[-1][0].endswith("/data"), "data again")
            tally = stop()

    states = [payload for _, payload in subscriber.live("/status")]
    assert states[:3] == [b"online", b"offline", b"online"]
    assert (tally.crashes, tally.connections_lost, tally.errors) == (1, 0, 0)


def test_a_broker_that_is_not_there_yet_is_waited_for_and_mentioned_once(
    tmp_path: Path,
):
    absent = Broker(tmp_path / "broker", users=LOGIN)

    with simulate("--demo", url=absent.url) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:  # it may take its time to start
            said.append(line)
            if "waiting for" in line:
                break
        time.sleep(3)  # several attempts of six connections
        with absent, subscribed(absent) as subscriber:
            until(lambda: subscriber.live("/data"), "data")
            process.send_signal(signal.SIGTERM)
            said += process.stderr
            process.wait(timeout=10)

    assert process.returncode == 0
    err = "".join(said)
    assert err.count("waiting for broker") == 1
    assert err.count("is back") == 1
    assert "p@ss" not in err


def test_it_goes_on_after_the_broker_was_killed_and_loses_no_count(broker: Broker):
    limits = Limits(messages=3000)
    engine = Engine([crew_of_one(every_s=0.002)], options(broker), limits=limits)

    with running(engine):
        until(lambda: engine.tally.acked.total() > 500, "under way")
        broker.kill()
        time.sleep(1)
        broker.start()
        until(lambda: measured(engine.tally.acked) >= 3000, "the rest")

    tally = engine.tally
    assert tally.connections_lost >= 1
    assert tally.acked == tally.published
    assert measured(tally.acked) == 3000


def measured(acked: Counter[str]) -> int:
    """Return what counts towards a limit of messages: not births and farewells."""
    return acked["data"] + acked["heartbeat"] + acked["malformed"]


def test_a_device_sends_late_what_it_measured_while_the_broker_was_away(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.fleet.devices.LATE_S", 1)
    engine = Engine([crew_of_one(every_s=0.2)], options(broker))

    with running(engine):
        until(lambda: engine.tally.acked["data"] >= 1, "under way")
        broker.kill()
        time.sleep(3)
        broker.start()
        with subscribed(broker) as subscriber:
            # It comes back with a birth; what is late may beat our subscription.
            until(lambda: engine.tally.acked["status"] >= 2, "back")
            until(lambda: subscriber.live("/data"), "data")

    assert engine.tally.acked["data"] < engine.tally.acked_values - 10


def test_a_wrong_password_is_told_and_does_not_keep_it_from_ending(broker: Broker):
    wrong = broker.url.replace("p%40ss", "other")

    with simulate("--demo", url=wrong) as process, killed_after(process, PATIENCE_S):
        assert process.stderr is not None
        told = next((line for line in process.stderr if "waiting for" in line), "")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)

    assert process.returncode == 0, err
    assert "waiting for broker" in told
    assert out.startswith("0 messages published")


def test_a_frozen_broker_does_not_hold_up_the_end(broker: Broker):
    engine = Engine([crew_of_one()], options(broker))

    with running(engine) as stop:
        until(lambda: engine.tally.acked.total() > 3, "under way")
        broker.freeze()
        try:
            time.sleep(0.5)
            began = time.monotonic()
            stop()
            took = time.monotonic() - began
        finally:
            broker.thaw()

    assert took < 12  # 1.25 s on a quiet machine


def test_who_was_not_accepted_in_time_leaves_without_a_will():
    class Late(FakeBroker):
        """Answers a CONNECT when the client has gone on already."""

        def answer(self, client: socket.socket, head: int, body: bytes) -> None:
            kinds.append(head >> 4)
            if head >> 4 == DISCONNECT:
                super().answer(client, CONNECT << 4, bytes(7))

    kinds: list[int] = []
    with Late() as late:
        links = LinkOptions(BrokerUrl("127.0.0.1", late.port), run="test")
        engine = Engine([crew_of_one()], links)
        with running(engine) as stop:
            until(lambda: kinds, "a CONNECT")
            tally = stop()
        until(lambda: len(kinds) > 1, "its goodbye")

    assert kinds == [CONNECT, DISCONNECT]
    assert (tally.published.total(), tally.errors) == (0, 0)
