"""The demo company: three sites, their gateways, dataloggers and sensors.

One description for two readers: `load_demo` registers it, and the simulated fleet
(`workers.fleet`) publishes as these devices would. Nothing here does anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stamp = Literal["s", "ms", "us", "iso"]


@dataclass(frozen=True, slots=True)
class Habit:
    """How a device fails, again and again; `steady` never does.

    `silent`: says nothing for a while, its connection stays (a radio out of reach).
    `crashing`: loses power, so its socket dies without DISCONNECT.
    """

    kind: Literal["steady", "silent", "crashing"] = "steady"
    first_after_s: float = 0.0
    every_s: float = 0.0
    lasts_s: float = 0.0
    keeps_readings: bool = True  # sends late what it measured meanwhile


STEADY = Habit()
# Both last longer than 1.5 promised intervals, so that the page shows them offline.
COMES_BACK = Habit("silent", first_after_s=90, every_s=480, lasts_s=150)
FORGETS = Habit(
    "silent", first_after_s=0, every_s=900, lasts_s=120, keeps_readings=False
)
CRASHES = Habit("crashing", first_after_s=150, every_s=360, lasts_s=60)


@dataclass(frozen=True, slots=True)
class SensorSpec:
    """One quantity: `mean` in its own unit, moving by `swing` over the day."""

    key: str
    label: str
    type: str
    unit: str = ""
    mean: float = 0.0
    swing: float = 0.0


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    number: str
    label: str
    serial: str


@dataclass(frozen=True, slots=True)
class DataloggerSpec:
    """A datalogger; without a gateway it has an MQTT connection of its own."""

    type: str
    number: str
    label: str
    serial: str
    sensors: tuple[SensorSpec, ...]
    gateway: str | None = None
    habit: Habit = STEADY
    stamp: Stamp = "s"
    samples_per_message: int = 1


@dataclass(frozen=True, slots=True)
class SiteSpec:
    code: str
    name: str
    latitude: float
    longitude: float
    gateways: tuple[GatewaySpec, ...]
    dataloggers: tuple[DataloggerSpec, ...]
    timezone: str = "Europe/Rome"


def temperature(key: str, label: str, mean: float, swing: float = 0.5) -> SensorSpec:
    return SensorSpec(key, label, "temperature", "°C", mean, swing)


def humidity(mean: float, swing: float = 4) -> SensorSpec:
    return SensorSpec("hum", "Umidità", "humidity", "%", mean, swing)


def door(label: str = "Porta") -> SensorSpec:
    return SensorSpec("door", label, "door")


def co2(mean: float = 450, swing: float = 500) -> SensorSpec:
    return SensorSpec("co2", "CO₂", "co2", "ppm", mean, swing)


def power(key: str, label: str, mean: float, swing: float) -> SensorSpec:
    return SensorSpec(key, label, "power", "kW", mean, swing)


BATTERY = SensorSpec("battery", "Batteria", "battery", "V")
MODE = SensorSpec("mode", "Modalità", "mode")

PADUA = SiteSpec(
    code="site_001",
    name="Stabilimento di Padova",
    latitude=45.39361,
    longitude=11.92083,
    gateways=(GatewaySpec("1", "Gateway Edificio A", "GW-PD-001"),),
    dataloggers=(
        DataloggerSpec(
            "monstro",
            "15",
            "Datalogger Edificio A",
            "MONSTR-001",
            (
                temperature("t_ext", "Temperatura esterna", 13, 5),
                temperature("t_int", "Temperatura interna", 21, 1.5),
                humidity(51, 8),
                door("Porta principale"),
                co2(),
                power("power", "Potenza assorbita", 18, 42),
                BATTERY,
                MODE,
            ),
            gateway="1",
        ),
        DataloggerSpec(
            "monstro",
            "16",
            "Datalogger Edificio B",
            "MONSTR-002",
            (
                temperature("t_int", "Temperatura interna", 20, 1.5),
                humidity(48),
                door("Porta magazzino"),
                BATTERY,
            ),
            gateway="1",
            habit=COMES_BACK,
        ),
        DataloggerSpec(
            "monstro",
            "17",
            "Cabina elettrica",
            "MONSTR-003",
            (
                power("power_l1", "Potenza linea 1", 9, 20),
                power("power_l2", "Potenza linea 2", 7, 16),
                temperature("t_cab", "Temperatura cabina", 27, 4),
                door("Porta cabina"),
            ),
            stamp="ms",
        ),
    ),
)

MONTALCINO = SiteSpec(
    code="site_002",
    name="Cantina di Montalcino",
    latitude=43.05889,
    longitude=11.48972,
    gateways=(GatewaySpec("1", "Gateway cantina", "GW-SI-001"),),
    dataloggers=(
        DataloggerSpec(
            "monstro",
            "1",
            "Barricaia",
            "MONSTR-101",
            (
                temperature("t_int", "Temperatura barricaia", 15, 0.3),
                humidity(74, 2),
                door("Porta barricaia"),
                BATTERY,
            ),
            gateway="1",
            samples_per_message=3,
        ),
        DataloggerSpec(
            "monstro",
            "2",
            "Sala fermentazione",
            "MONSTR-102",
            (
                temperature("t_mosto", "Temperatura mosto", 24, 1),
                temperature("t_int", "Temperatura sala", 18, 1),
                co2(600, 900),
                MODE,
            ),
            gateway="1",
            stamp="iso",
        ),
        DataloggerSpec(
            "meteo",
            "1",
            "Stazione meteo in vigna",
            "METEO-007",
            (
                temperature("t_ext", "Temperatura esterna", 12, 6),
                humidity(62, 14),
                BATTERY,
            ),
            habit=CRASHES,
        ),
    ),
)

BARI = SiteSpec(
    code="site_003",
    name="Magazzino frigorifero di Bari",
    latitude=41.10528,
    longitude=16.81611,
    gateways=(
        GatewaySpec("1", "Gateway celle", "GW-BA-001"),
        GatewaySpec("2", "Gateway ribalte", "GW-BA-002"),
    ),
    dataloggers=(
        DataloggerSpec(
            "monstro",
            "31",
            "Cella 1, surgelati",
            "MONSTR-201",
            (
                temperature("t_cella", "Temperatura cella", -21, 0.6),
                door("Porta cella"),
                power("power", "Potenza compressore", 6, 5),
            ),
            gateway="1",
        ),
        DataloggerSpec(
            "monstro",
            "32",
            "Cella 2, freschi",
            "MONSTR-202",
            (
                temperature("t_cella", "Temperatura cella", 3.5, 0.6),
                humidity(86, 2),
                door("Porta cella"),
                MODE,
            ),
            gateway="1",
        ),
        DataloggerSpec(
            "ribalta",
            "1",
            "Ribalte di carico",
            "RIB-001",
            (
                temperature("t_ext", "Temperatura piazzale", 17, 4),
                door("Portone 1"),
                BATTERY,
            ),
            gateway="2",
            habit=FORGETS,
        ),
    ),
)

DEMO_SITES = (PADUA, MONTALCINO, BARI)
