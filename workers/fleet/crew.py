"""Puts devices on MQTT links: from the demo's description, or as many as asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from project.demo import DataloggerSpec, GatewaySpec, Habit, SensorSpec, SiteSpec, Stamp
from workers.fleet.devices import Device, Message, Profile

# More than one gateway for a big site, as in life; few enough sockets for one process.
DATALOGGERS_PER_GATEWAY = 100
# Stamps of a second would run ahead of the clock when a device is faster than this.
SLOW_ENOUGH_FOR_SECONDS_S = 2.0

_KINDS = (
    ("temperature", "°C", 20, 4),
    ("humidity", "%", 55, 8),
    ("power", "kW", 5, 20),
)
_MASS_STAMPS: tuple[Stamp, ...] = ("s", "s", "ms", "s", "iso")
_NO_MEMORY = Habit(keeps_readings=False)  # a flood with late lists could not be counted


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the devices speak; times in seconds.

    `data_every_s` 0: as fast as the broker takes it. `interval_s` 0: no heartbeats.
    """

    data_every_s: float = 5.0
    interval_s: int = 60
    qos: int = 1
    malformed: float = 0.0


@dataclass(slots=True)
class Slot:
    """A device in the schedule, with dice of its own: no device disturbs another's."""

    device: Device
    rng: Random
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Crew:
    """What shares one MQTT client: a gateway with its dataloggers, or a datalogger.

    The first device is the one that holds the connection: the will is its own.
    """

    name: str
    slots: tuple[Slot, ...]

    @property
    def will(self) -> Message:
        return self.slots[0].device.farewell()


def crews_of(sites: Iterable[SiteSpec], pace: Pace, *, seed: int) -> list[Crew]:
    """Return one crew for each gateway and for each datalogger without one.

    Dataloggers behind a gateway obey commands: only those have the topics for it.
    """
    crews: list[Crew] = []
    for site in sites:
        for gateway in site.gateways:
            behind = [d for d in site.dataloggers if d.gateway == gateway.number]
            profiles = [_gateway(site, gateway, pace)]
            profiles += [
                replace(_datalogger(site, spec, pace), obeys=True) for spec in behind
            ]
            crews.append(_crew(f"{site.code}-gw{gateway.number}", profiles, seed))
        for spec in site.dataloggers:
            if spec.gateway is None:
                name = f"{site.code}-{spec.type}{spec.number}"
                crews.append(_crew(name, [_datalogger(site, spec, pace)], seed))
    return crews


def mass_crews(
    codes: Sequence[str], *, devices: int, sensors: int, pace: Pace, seed: int
) -> list[Crew]:
    """Return crews of a hundred dataloggers each, all alike.

    Every fifth datalogger uses the topic form without the gateway, though it shares
    the gateway's connection: both forms flow, at one socket for a hundred devices.
    """
    crews: list[Crew] = []
    for code in codes:
        site = _mass_site(code, devices, sensors, pace)
        for gateway in site.gateways:
            first = (int(gateway.number) - 1) * DATALOGGERS_PER_GATEWAY
            behind = site.dataloggers[first : first + DATALOGGERS_PER_GATEWAY]
            profiles = [_gateway(site, gateway, pace)]
            profiles += [_datalogger(site, spec, pace) for spec in behind]
            crews.append(_crew(f"{code}-gw{gateway.number}", profiles, seed))
    return crews


def data_every_s(*, rate: float, devices: int, gateways: int, interval_s: int) -> float:
    """Return how often each datalogger must send for `rate` messages/s in all.

    Raises:
        ValueError: the heartbeats alone reach the rate.
    """
    heartbeats = (devices + gateways) / interval_s if interval_s else 0.0
    if heartbeats >= rate:
        message = (
            f"--rate {rate:g} is not more than the heartbeats alone: {devices} devices "
            f"every {interval_s} s are {heartbeats:.1f} messages/s; raise --rate or "
            "--interval"
        )
        raise ValueError(message)
    return devices / (rate - heartbeats)


def gateways_for(devices: int) -> int:
    return -(-devices // DATALOGGERS_PER_GATEWAY)


def _mass_site(code: str, devices: int, sensors: int, pace: Pace) -> SiteSpec:
    is_slow = pace.data_every_s >= SLOW_ENOUGH_FOR_SECONDS_S
    specs = tuple(_mass_sensor(index) for index in range(sensors))
    return SiteSpec(
        code=code,
        name=code,
        latitude=45.0,
        longitude=12.0,
        gateways=tuple(
            GatewaySpec(str(n), f"Gateway {n}", f"GW-{code}-{n:03d}")
            for n in range(1, gateways_for(devices) + 1)
        ),
        dataloggers=tuple(
            DataloggerSpec(
                type="monstro",
                number=str(n),
                label=f"Datalogger {n}",
                serial=f"{code}-{n:05d}",
                sensors=specs,
                gateway=None
                if n % 5 == 0
                else str((n - 1) // DATALOGGERS_PER_GATEWAY + 1),
                habit=_NO_MEMORY,
                stamp=_MASS_STAMPS[n % len(_MASS_STAMPS)] if is_slow else "us",
            )
            for n in range(1, devices + 1)
        ),
    )


def _mass_sensor(index: int) -> SensorSpec:
    kind, unit, mean, swing = _KINDS[index % len(_KINDS)]
    return SensorSpec(f"s{index + 1}", f"Sensor {index + 1}", kind, unit, mean, swing)


def _gateway(site: SiteSpec, spec: GatewaySpec, pace: Pace) -> Profile:
    return Profile(
        base=f"{site.code}/gateway/{spec.number}",
        serial=spec.serial,
        label=spec.label,
        longitude=site.longitude,
        interval_s=pace.interval_s,
        qos=pace.qos,
        says_state_as_json=True,  # gateways are small computers, dataloggers are not
    )


def _datalogger(site: SiteSpec, spec: DataloggerSpec, pace: Pace) -> Profile:
    path = f"datalogger/{spec.type}/{spec.number}"
    if spec.gateway is not None:
        path = f"gateway/{spec.gateway}/{path}"
    return Profile(
        base=f"{site.code}/{path}",
        serial=spec.serial,
        label=spec.label,
        sensors=spec.sensors,
        longitude=site.longitude,
        data_every_s=pace.data_every_s,
        interval_s=pace.interval_s,
        stamp=spec.stamp,
        samples_per_message=spec.samples_per_message,
        habit=spec.habit,
        malformed=pace.malformed,
        qos=pace.qos,
    )


def _crew(name: str, profiles: list[Profile], seed: int) -> Crew:
    return Crew(
        name,
        # Text seeds are hashed, so that neighbours do not behave alike.
        tuple(Slot(Device(p), Random(f"{seed}/{p.base}")) for p in profiles),  # noqa: S311 (dice, not secrets)
    )
