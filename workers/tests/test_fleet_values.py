from __future__ import annotations

import itertools
from random import Random
from statistics import fmean, pstdev

import pytest

from project.demo import SensorSpec, humidity, power, temperature
from workers.fleet.values import (
    DAY_S,
    KINDS,
    Battery,
    Door,
    Drift,
    Mode,
    process_of,
    solar_hour,
)

NOON = 1_763_553_600.0  # 2025-11-19 12:00 UTC


def _series(spec: SensorSpec, *, every_s: float, count: int, seed: int = 1):
    process = process_of(spec, longitude=0)
    rng = Random(seed)
    return [process.sample(NOON + n * every_s, rng) for n in range(count)]


@pytest.mark.parametrize(
    "spec",
    [
        temperature("t", "", 20, 3),
        humidity(55, 6),
        power("p", "", 10, 8),
        SensorSpec("co2", "", "co2", "ppm", 450, 500),
    ],
)
def test_drift_stays_near_its_curve_for_a_month(spec: SensorSpec):
    values = _series(spec, every_s=600, count=30 * 144)

    slack = 4 * KINDS[spec.type].noise + 1
    assert min(values) >= spec.mean - spec.swing - slack
    assert max(values) <= spec.mean + spec.swing + slack
    assert pstdev(values) > 0


def test_drift_keeps_to_what_the_quantity_can_be():
    values = _series(humidity(99, 6), every_s=600, count=1000)

    assert max(values) == 100


def test_it_is_warmest_in_the_afternoon_and_coldest_at_night():
    spec = temperature("t", "", 15, 6)

    values = _series(spec, every_s=300, count=10 * 288)

    by_hour: dict[int, list[float]] = {}
    for n, value in enumerate(values):
        by_hour.setdefault(int(solar_hour(NOON + n * 300, 0)), []).append(value)
    means = {hour: fmean(found) for hour, found in by_hour.items()}
    assert max(means, key=lambda hour: means[hour]) in (14, 15, 16)
    assert min(means, key=lambda hour: means[hour]) in (2, 3, 4)


def test_neighbouring_values_differ_by_little():
    values = _series(temperature("t", "", 20), every_s=5, count=2000)

    steps = [abs(b - a) for a, b in itertools.pairwise(values)]
    assert max(steps) < 0.5


def test_the_spread_does_not_depend_on_the_step():
    """Ornstein-Uhlenbeck in closed form: small steps must not add up to more."""
    spec = temperature("t", "", 20, 0)

    coarse = _series(spec, every_s=3600, count=3000)
    fine = _series(spec, every_s=60, count=60_000, seed=2)

    assert pstdev(coarse) == pytest.approx(KINDS["temperature"].noise, rel=0.2)
    assert pstdev(fine) == pytest.approx(KINDS["temperature"].noise, rel=0.2)


def test_the_same_seed_gives_the_same_values():
    spec = temperature("t", "", 20, 3)

    again = _series(spec, every_s=5, count=200, seed=7)

    assert again == _series(spec, every_s=5, count=200, seed=7)
    assert again != _series(spec, every_s=5, count=200, seed=8)


def test_a_sensor_asked_too_soon_repeats_itself():
    process = Drift(temperature("t", "", 20), KINDS["temperature"], 0)
    rng = Random(1)

    first = process.sample(NOON, rng)

    assert process.sample(NOON + 0.001, rng) == first


def test_a_clock_that_steps_back_does_no_harm():
    process = Drift(temperature("t", "", 20), KINDS["temperature"], 0)
    rng = Random(1)
    process.sample(NOON, rng)

    value = process.sample(NOON - 3600, rng)

    assert 10 < value < 30


def test_a_door_is_shut_most_of_the_time_and_opens():
    door, rng = Door(), Random(3)

    states = [door.sample(NOON + n * 5, rng) for n in range(20_000)]

    assert set(states) == {True, False}
    assert 0.05 < fmean(states) < 0.3


def test_a_battery_runs_down_within_its_volts():
    battery, rng = Battery(), Random(1)

    volts = [battery.sample(NOON + n * DAY_S, rng) for n in range(60)]

    assert all(3.5 <= value <= 4.2 for value in volts)
    assert sum(b > a for a, b in itertools.pairwise(volts)) in (1, 2, 3)


def test_a_mode_is_told_at_first_and_now_and_then():
    mode, rng = Mode(), Random(1)

    told = [mode.sample(NOON + n * 5, rng) for n in range(2000)]

    assert isinstance(told[0], str)
    assert 40 < sum(word is not None for word in told) < 250
    assert len({word for word in told if word}) > 1
