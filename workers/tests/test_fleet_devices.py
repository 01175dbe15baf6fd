from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from paho.mqtt.client import topic_matches_sub

from apps.sites.patterns import DEFAULT_PATTERNS
from apps.telemetry.facts import Bad, DeviceStatus, Heartbeat, Samples
from apps.telemetry.protocols.decode import decode
from project.demo import (
    BATTERY,
    DEMO_SITES,
    MODE,
    Habit,
    Stamp,
    door,
    temperature,
)
from workers.fleet.crew import Pace, crews_of, mass_crews
from workers.fleet.devices import BUFFER_SAMPLES, Device, Message, Profile, malformed

NOW = 1_763_547_000.0
ROME = ZoneInfo("Europe/Rome")

PROFILE = Profile(
    base="site_001/gateway/1/datalogger/monstro/15",
    serial="MONSTR-001",
    label="Datalogger Edificio A",
    sensors=(temperature("t_ext", "", 15, 4), door(), BATTERY),
    data_every_s=5,
    interval_s=30,
)
SILENT = Habit("silent", first_after_s=60, every_s=600, lasts_s=120)


def run(
    device: Device, *, seconds: float, start: float = NOW, seed: int = 1
) -> list[tuple[float, Message]]:
    """Step a device whenever it wants to be; return its messages with their times."""
    rng = Random(seed)
    now, found = start, []
    while now <= start + seconds:
        found += [(now, message) for message in device.step(now, rng)]
        now = max(now + 0.001, device.next_at)
    return found


def of_kind(
    found: list[tuple[float, Message]], kind: str
) -> list[tuple[float, Message]]:
    return [(at, message) for at, message in found if message.kind == kind]


def understood(message: Message, code: str = "site_001", at: float = NOW):
    return decode(
        code,
        message.topic.encode(),
        message.payload,
        received_us=int(at * 1e6),
        zone=ROME,
    )


def everyone() -> list[tuple[str, Device]]:
    crews = crews_of(DEMO_SITES, Pace(), seed=1)
    crews += mass_crews(["site_001"], devices=12, sensors=3, pace=Pace(), seed=1)
    return [
        (slot.device.profile.base.split("/")[0], slot.device)
        for crew in crews
        for slot in crew.slots
    ]


def test_every_topic_is_one_that_a_site_subscribes_to():
    for code, device in everyone():
        sent = [message for _, message in run(device, seconds=400)]
        for message in [*sent, device.birth(), device.farewell()]:
            assert any(
                topic_matches_sub(f"{code}/{pattern}", message.topic)
                for pattern in DEFAULT_PATTERNS
            ), message.topic


def test_every_good_message_is_understood_with_all_its_values():
    for code, device in everyone():
        for at, message in run(device, seconds=400):
            fact = understood(message, code, at)
            if message.kind == "data":
                assert isinstance(fact, Samples)
                assert len(fact.samples) == message.values
                assert all(s.measured_us is not None for s in fact.samples)
            else:
                assert isinstance(fact, Heartbeat)
                assert fact.serial == device.profile.serial
                assert fact.interval_s == 60


def test_births_and_wills_are_retained_and_understood():
    for code, device in everyone():
        for message, is_online in ((device.birth(), True), (device.farewell(), False)):
            fact = understood(message, code)

            assert isinstance(fact, DeviceStatus)
            assert fact.is_online is is_online
            assert message.retain
            assert message.qos == 1


def test_no_measurement_is_retained():
    assert not any(m.retain for _, m in run(Device(PROFILE), seconds=300))


def test_a_heartbeat_says_all_there_is_to_say():
    _, message = of_kind(run(Device(PROFILE), seconds=1), "heartbeat")[0]

    body = json.loads(message.payload)
    assert body["ts"] == int(NOW)
    assert (body["serial"], body["label"]) == ("MONSTR-001", "Datalogger Edificio A")
    assert (body["firmware"], body["interval"]) == ("V.5.53.0", 30)
    assert body["uptime"] >= 86_400
    assert -110 <= body["rssi"] <= -30
    assert 3.5 <= body["battery"] <= 4.2


def test_it_answers_a_command_unless_it_is_silent():
    device = Device(replace(PROFILE, obeys=True, habit=SILENT))
    run(device, seconds=30)

    [answer] = device.answer(b"start", NOW + 30)
    run(device, seconds=60, start=NOW + 30)

    assert device.command_topic == f"{PROFILE.base}/input"
    assert answer.topic == f"{PROFILE.base}/output"
    assert json.loads(answer.payload)["command"] == "start"
    assert not answer.retain
    assert device.state == "silent"
    assert device.answer(b"start", NOW + 90) == []


def test_it_keeps_the_interval_it_promises():
    beats = [at for at, _ in of_kind(run(Device(PROFILE), seconds=600), "heartbeat")]

    assert len(beats) == 21
    assert all(b - a <= 30.01 for a, b in itertools.pairwise(beats))


def test_without_a_promise_there_are_no_heartbeats():
    device = Device(replace(PROFILE, interval_s=0))

    found = run(device, seconds=100)

    assert {message.kind for _, message in found} == {"data"}
    assert len(found) >= 20


def test_a_gateway_only_beats():
    gateway = Device(replace(PROFILE, base="site_001/gateway/1", sensors=()))

    found = run(gateway, seconds=100)

    assert {message.topic for _, message in found} == {"site_001/gateway/1/heartbeat"}


@pytest.mark.parametrize(
    ("stamp", "read"),
    [
        ("s", lambda ts: ts),
        ("ms", lambda ts: ts / 1e3),
        ("us", lambda ts: ts / 1e6),
        (
            "iso",
            lambda ts: datetime.fromisoformat(ts).timestamp(),
        ),
    ],
)
def test_it_stamps_in_the_unit_of_its_make(stamp: Stamp, read: Callable[[Any], float]):
    device = Device(replace(PROFILE, stamp=stamp))

    for at, message in run(device, seconds=30):
        body = json.loads(message.payload)
        assert read(body["ts"]) == pytest.approx(at, abs=1.01)


def test_no_two_samples_share_a_stamp_however_fast_it_is():
    """A reading is known by sensor, time and value: equal ones are stored once."""
    device, rng = Device(replace(PROFILE, data_every_s=0, stamp="us")), Random(1)

    messages = [m for _ in range(1000) for m in device.step(NOW, rng)]

    stamps = [json.loads(m.payload)["ts"] for m in messages if m.kind == "data"]
    assert len(set(stamps)) == len(stamps) == 1000


def test_it_gathers_samples_into_lists_when_told_so():
    device = Device(replace(PROFILE, samples_per_message=3))

    data = of_kind(run(device, seconds=100), "data")

    assert all(len(json.loads(message.payload)) == 3 for _, message in data)


def test_text_comes_now_and_then():
    device = Device(replace(PROFILE, sensors=(*PROFILE.sensors, MODE)))

    bodies = [
        json.loads(m.payload) for _, m in of_kind(run(device, seconds=5000), "data")
    ]

    texts = [body["values"]["mode"] for body in bodies if "mode" in body["values"]]
    assert 1 <= len(texts) < len(bodies) / 2
    assert set(texts) <= {"auto", "manuale", "notte"}


def test_a_silent_device_says_nothing_for_longer_than_it_promised():
    found = run(Device(replace(PROFILE, habit=SILENT)), seconds=400)

    times = [at for at, _ in found]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) > 1.5 * PROFILE.interval_s
    assert sum(gap > 30 for gap in gaps) == 1


def test_after_a_silence_it_sends_late_what_it_measured_meanwhile():
    found = run(Device(replace(PROFILE, habit=SILENT)), seconds=400)

    late_at, late = next(
        (at, m) for at, m in of_kind(found, "data") if m.payload.startswith(b"[")
    )
    stamps = [item["ts"] for item in json.loads(late.payload)]
    assert stamps == sorted(set(stamps))
    assert stamps[0] < late_at - 100
    assert len(stamps) >= 20
    # Together with the others: no hole and no overlap in its five-second rhythm.
    every = [
        item["ts"]
        for _, m in of_kind(found, "data")
        for item in (json.loads(f"[{m.payload.decode().strip('[]')}]"))
    ]
    assert {b - a for a, b in itertools.pairwise(every)} == {5}


def test_it_announces_itself_when_it_comes_back():
    found = run(Device(replace(PROFILE, habit=SILENT)), seconds=400)

    times = [at for at, _ in found]
    back = next(b for a, b in itertools.pairwise(times) if b - a > 30)
    assert next(m for at, m in found if at == back).kind == "heartbeat"


def test_one_that_keeps_nothing_goes_on_with_the_present():
    habit = replace(SILENT, keeps_readings=False)

    found = run(Device(replace(PROFILE, habit=habit)), seconds=400)

    assert not any(m.payload.startswith(b"[") for _, m in found)
    assert all(at - json.loads(m.payload)["ts"] < 2 for at, m in found)


def test_its_memory_is_bounded():
    device, rng = Device(PROFILE), Random(1)
    device.step(NOW, rng)

    found = device.step(NOW + 7 * 86_400, rng)

    late = [item for m in found if m.kind == "data" for item in json.loads(m.payload)]
    assert len(late) <= BUFFER_SAMPLES + 1
    assert late[-1]["ts"] > NOW + 7 * 86_400 - 6
    assert max(len(m.payload) for m in found) < 20_000


def test_a_crash_takes_its_readings_and_its_uptime():
    habit = Habit("crashing", first_after_s=60, every_s=600, lasts_s=60)
    device, rng = Device(replace(PROFILE, habit=habit)), Random(1)
    device.step(NOW, rng)

    at_crash = device.step(NOW + 61, rng)
    state, back = device.state, device.next_at
    while_dead = device.step(back - 1, rng)
    after = device.step(back, rng)

    assert (at_crash, state, while_dead) == ([], "crashed", [])
    assert device.state == "up"
    assert json.loads(after[0].payload)["uptime"] < 10
    assert not any(m.payload.startswith(b"[") for m in after)


def test_a_new_link_makes_it_announce_itself_at_once():
    device, rng = Device(PROFILE), Random(1)
    device.step(NOW, rng)

    device.announce_again()

    assert device.next_at == 0
    assert device.step(NOW + 1, rng)[0].kind == "heartbeat"


def test_the_share_of_malformed_messages_is_what_was_asked():
    device = Device(replace(PROFILE, data_every_s=0, interval_s=0, malformed=0.1))
    rng = Random(1)

    messages = [m for n in range(5000) for m in device.step(NOW + n, rng)]

    bad = [m for m in messages if m.kind == "malformed"]
    assert 400 < len(bad) < 600
    assert all(m.values == 0 for m in bad)


def test_nobody_understands_a_malformed_message():
    rng = Random(1)
    good = [{"ts": NOW, "values": {"t_ext": 1.5}}, {"ts": NOW, "values": {"t_ext": 2}}]
    topic = f"{PROFILE.base}/data"

    reasons = set()
    for body in (good, good[0]):
        for _ in range(200):
            payload = malformed(body, rng)
            fact = understood(Message(topic, payload, 1, False, "malformed"))
            assert isinstance(fact, Bad), payload
            reasons.add(fact.reason)

    assert reasons == {"json_invalid", "schema_mismatch", "unknown_version"}


def test_the_same_seed_gives_the_same_messages():
    first = run(Device(PROFILE), seconds=300, seed=4)

    assert run(Device(PROFILE), seconds=300, seed=4) == first
    assert run(Device(PROFILE), seconds=300, seed=5) != first
