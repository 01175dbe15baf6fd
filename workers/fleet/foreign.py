"""A device of the demo that speaks no protocol of ours: something to discover.

An energy meter as shops sell them: JSON and bare numbers on topics of its own, under
the site's code. Nobody hears it until a discovery session listens.
"""

from __future__ import annotations

import json
from random import Random

from project.demo import SiteSpec
from workers.fleet.crew import Crew, Slot
from workers.fleet.devices import Device, Message, Profile

EVERY_S = 10.0
_VOLTS = 230.0


class ForeignMeter(Device):
    """Publishes power and temperature; it knows neither heartbeats nor commands."""

    def __init__(self, base: str) -> None:
        super().__init__(Profile(base=base, serial="", label="", interval_s=0))
        self._energy_kwh = 0.0

    def birth(self) -> Message:
        return self._say("online", "true")

    def farewell(self) -> Message:
        return self._say("online", "false")

    def step(self, now: float, rng: Random) -> list[Message]:
        if now < self.next_at:
            return []
        self.next_at = now + EVERY_S
        watts = rng.gauss(850, 120)
        self._energy_kwh += watts / 1_000 * EVERY_S / 3_600
        meter = {
            "time": int(now),
            "em": [
                {"power": round(watts, 1), "voltage": round(rng.gauss(_VOLTS, 1), 1)}
            ],
            "total_kwh": round(self._energy_kwh, 4),
        }
        return [
            self._say("status/em", json.dumps(meter, separators=(",", ":"))),
            self._say("temperature", f"{rng.gauss(38, 0.5):.1f}"),
        ]

    def _say(self, topic: str, words: str) -> Message:
        full = f"{self.profile.base}/{topic}"
        return Message(full, words.encode(), qos=1, retain=False, kind="foreign")


def foreign_crews(sites: tuple[SiteSpec, ...], *, seed: int) -> list[Crew]:
    """Return one meter a site, each with a connection of its own."""
    crews = []
    for site in sites:
        dice = Random(f"{seed}{site.code}")  # noqa: S311 (a simulation)
        meter = ForeignMeter(f"{site.code}/meters/em-1")
        crews.append(Crew(f"{site.code}-meter", (Slot(meter, dice),)))
    return crews
