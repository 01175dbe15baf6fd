from __future__ import annotations

import pytest

from project.demo import DEMO_SITES
from workers.fleet.crew import Pace, crews_of, data_every_s, mass_crews


def bases(crews) -> list[str]:
    return [slot.device.profile.base for crew in crews for slot in crew.slots]


def test_the_demo_has_gateways_and_dataloggers_with_a_connection_of_their_own():
    crews = crews_of(DEMO_SITES, Pace(), seed=1)

    alone = [crew for crew in crews if len(crew.slots) == 1]
    assert {crew.slots[0].device.profile.base for crew in alone} == {
        "site_001/datalogger/monstro/17",
        "site_002/datalogger/meteo/1",
    }
    assert all("/gateway/" in c.will.topic for c in crews if len(c.slots) > 1)


def test_each_device_of_the_demo_is_on_exactly_one_connection():
    crews = crews_of(DEMO_SITES, Pace(), seed=1)

    found = bases(crews)
    wanted = sum(len(s.gateways) + len(s.dataloggers) for s in DEMO_SITES)
    assert len(found) == len(set(found)) == wanted


def test_the_demo_shows_every_habit_and_every_kind_of_clock():
    dataloggers = [d for site in DEMO_SITES for d in site.dataloggers]

    assert {d.habit.kind for d in dataloggers} == {"steady", "silent", "crashing"}
    assert {d.stamp for d in dataloggers} == {"s", "ms", "iso"}
    assert {True, False} == {d.habit.keeps_readings for d in dataloggers}


def test_a_crashing_device_takes_no_other_one_with_it():
    for crew in crews_of(DEMO_SITES, Pace(), seed=1):
        crashing = [
            slot for slot in crew.slots if slot.device.profile.habit.kind == "crashing"
        ]
        assert not crashing or len(crew.slots) == 1


def test_a_silence_is_long_enough_to_be_noticed():
    for site in DEMO_SITES:
        for datalogger in site.dataloggers:
            habit = datalogger.habit
            assert habit.kind == "steady" or habit.lasts_s * 0.9 > 1.5 * 30


def test_many_devices_share_few_connections_and_use_both_topic_forms():
    crews = mass_crews(["a", "b"], devices=250, sensors=2, pace=Pace(), seed=1)

    found = bases(crews)
    assert len(crews) == 2 * 3
    assert len(set(found)) == len(found) == 2 * (250 + 3)
    assert sum(base.startswith("a/datalogger/") for base in found) == 50
    assert sum("gateway" in base and "datalogger" in base for base in found) == 400
    assert "a/gateway/3/datalogger/monstro/249" in found


def test_each_connection_has_a_name_of_its_own():
    crews = mass_crews(["a", "b"], devices=250, sensors=2, pace=Pace(), seed=1)
    crews += crews_of(DEMO_SITES, Pace(), seed=1)

    assert len({crew.name for crew in crews}) == len(crews)


def test_every_message_of_the_mass_has_as_many_values_as_sensors():
    crews = mass_crews(
        ["a"], devices=10, sensors=7, pace=Pace(data_every_s=0, interval_s=0), seed=1
    )

    for crew in crews:
        for slot in crew.slots[1:]:
            (message,) = slot.device.step(1_763_547_000.0, slot.rng)
            assert message.values == 7


@pytest.mark.parametrize(
    ("rate", "devices", "interval_s", "expected"),
    [
        (100, 50, 0, 0.5),
        (10, 60, 60, 60 / 9),  # one heartbeat a second leaves nine data messages
        (20_000, 10, 0, 0.0005),
    ],
)
def test_the_pace_follows_from_the_rate(rate, devices, interval_s, expected):
    every = data_every_s(rate=rate, devices=devices, gateways=0, interval_s=interval_s)

    assert every == pytest.approx(expected)


def test_it_says_so_when_the_heartbeats_alone_are_more_than_the_rate():
    with pytest.raises(ValueError, match=r"--rate 10 .* 17\.0 messages/s"):
        data_every_s(rate=10, devices=1000, gateways=20, interval_s=60)


def test_seconds_are_not_the_clock_of_a_device_that_sends_faster_than_that():
    quick = mass_crews(
        ["a"], devices=20, sensors=1, pace=Pace(data_every_s=0.1), seed=1
    )
    slow = mass_crews(["a"], devices=20, sensors=1, pace=Pace(data_every_s=5), seed=1)

    stamps = [
        {slot.device.profile.stamp for crew in crews for slot in crew.slots[1:]}
        for crews in (quick, slow)
    ]
    assert stamps == [{"us"}, {"s", "ms", "iso"}]
