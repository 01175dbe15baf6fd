"""What simulated sensors measure: pure processes, moved on by the time they get."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from project.demo import SensorSpec

Value = float | int | bool | str

DAY_S = 86_400.0
CONVERSION_S = 0.2  # a real sensor takes as long for a value; asked sooner, it repeats
MODE_CHANGES, MODE_TOLD = 0.01, 0.05  # shares of the samples


class Process(Protocol):
    def sample(self, at: float, rng: Random) -> Value | None:
        """Return the value at `at` (seconds since 1970); None: nothing to tell now."""


def solar_hour(at: float, longitude: float) -> float:
    """Return the hour of the sun, 0 to 24; 15° of longitude are one hour."""
    return (at / 3600 + longitude / 15) % 24


def warmth(hour: float) -> float:
    """Return -1 to 1, highest at 15 h."""
    return math.cos((hour - 15) / 24 * math.tau)


def work(hour: float) -> float:
    """Return 0 to 1: people and machines between 7 and 19 h."""
    return max(0.0, math.sin((hour - 7) / 12 * math.pi))


def coolness(hour: float) -> float:
    return -warmth(hour)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a type of sensor moves: its curve over the day, its noise, its limits.

    Noise wanders with standard deviation `noise` (sensor's unit) and returns to the
    curve within about `memory_s`; it never leaves ± 4 `noise`.
    """

    curve: Callable[[float], float]
    noise: float
    memory_s: float
    decimals: int
    low: float = -math.inf
    high: float = math.inf


KINDS = {
    "temperature": Kind(warmth, noise=0.4, memory_s=1800, decimals=1, low=-40, high=80),
    "humidity": Kind(coolness, noise=1.5, memory_s=1200, decimals=0, low=0, high=100),
    "co2": Kind(work, noise=25, memory_s=600, decimals=0, low=380, high=5000),
    "power": Kind(work, noise=0.9, memory_s=120, decimals=2, low=0),
}


class Drift:
    """A daily curve plus mean-reverting noise (an Ornstein-Uhlenbeck process)."""

    __slots__ = ("_at", "_kind", "_longitude", "_noise", "_spec", "_value")

    def __init__(self, spec: SensorSpec, kind: Kind, longitude: float) -> None:
        self._spec, self._kind, self._longitude = spec, kind, longitude
        self._noise = 0.0
        self._at = -DAY_S
        self._value: float | int = 0

    def sample(self, at: float, rng: Random) -> float | int:
        if at - self._at >= CONVERSION_S:
            self._move(at, rng)
        return self._value

    def _move(self, at: float, rng: Random) -> None:
        kind = self._kind
        # Exact for any step: two of 5 s spread like one of 10 s.
        keep = math.exp((self._at - at) / kind.memory_s)
        self._at = at
        shock = kind.noise * math.sqrt(1 - keep * keep) * rng.gauss(0, 1)
        limit = 4 * kind.noise
        self._noise = min(limit, max(-limit, self._noise * keep + shock))
        curve = kind.curve(solar_hour(at, self._longitude))
        value = self._spec.mean + self._spec.swing * curve + self._noise
        value = min(kind.high, max(kind.low, value))
        self._value = round(value, kind.decimals) if kind.decimals else round(value)


class Door:
    """Open now and then: shut for 4 minutes on average, open for 40 s."""

    __slots__ = ("_at", "_is_open")

    def __init__(self) -> None:
        self._is_open = False
        self._at: float | None = None

    def sample(self, at: float, rng: Random) -> bool:
        passed_s = 0.0 if self._at is None else max(0.0, at - self._at)
        self._at = at
        stays_s = 40.0 if self._is_open else 240.0
        if rng.random() > math.exp(-passed_s / stays_s):
            self._is_open = not self._is_open
        return self._is_open


class Battery:
    """Falls from 4.15 to 3.55 V within thirty days, then somebody changes it."""

    __slots__ = ("_phase",)

    def __init__(self) -> None:
        self._phase: float | None = None

    def sample(self, at: float, rng: Random) -> float:
        if self._phase is None:
            self._phase = rng.random()
        used = (at / (30 * DAY_S) + self._phase) % 1
        return round(4.15 - 0.6 * used, 2)


class Mode:
    """A word, told when it changes and once in a while."""

    __slots__ = ("_mode",)

    def __init__(self) -> None:
        self._mode = ""

    def sample(self, at: float, rng: Random) -> str | None:
        chance = rng.random()
        if not self._mode or chance < MODE_CHANGES:
            self._mode = rng.choice(("auto", "auto", "manuale", "notte"))
            return self._mode
        return self._mode if chance < MODE_TOLD else None


def process_of(spec: SensorSpec, longitude: float) -> Process:
    """Return the process behind a sensor, by the sensor's type."""
    if spec.type == "door":
        return Door()
    if spec.type == "battery":
        return Battery()
    if spec.type == "mode":
        return Mode()
    return Drift(spec, KINDS[spec.type], longitude)
