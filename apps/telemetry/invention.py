"""Invents a history: plausible readings, a UTC day at a time, written by the server.

`INSERT … SELECT` there instead of COPY from here: nothing has to be made into text and
sent, and a new day's index is built once, after its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection, transaction

from apps.devices.models import Datalogger, SensorDevice
from apps.sites.models import Site
from apps.telemetry import rollups
from apps.telemetry.partitions import READINGS, midnight


@dataclass(frozen=True, slots=True)
class Kind:
    """What a sensor measures: about `mean`, moving by `swing` over the day."""

    key: str
    label: str
    type: str
    unit: str
    mean: float
    swing: float
    year_swing: float


KINDS = (
    Kind("t_ext", "Temperatura esterna", "temperature", "°C", 14, 5, 10),
    Kind("t_int", "Temperatura interna", "temperature", "°C", 21, 1.5, 1),
    Kind("hum", "Umidità", "humidity", "%", 55, 10, 8),
    Kind("co2", "CO₂", "co2", "ppm", 600, 180, 20),
    Kind("power", "Potenza assorbita", "power", "kW", 20, 14, 4),
)
TYPE = "storico"  # of the invented dataloggers


def devices(site: Site, *, dataloggers: int, sensors: int) -> list[tuple[int, Kind]]:
    """Register dataloggers with that many sensors in all; safe to repeat.

    Returns:
        Each sensor's id and what it measures.
    """
    found = []
    for place in range(sensors):
        turn, number = divmod(place, dataloggers)
        round_, kind_no = divmod(turn, len(KINDS))
        kind = KINDS[kind_no]
        logger, _ = Datalogger.objects.get_or_create(
            site=site,
            type=TYPE,
            number=str(number + 1),
            defaults={"label": f"Storico {number + 1}"},
        )
        suffix = f"_{round_ + 1}" if round_ else ""
        sensor, _ = SensorDevice.objects.get_or_create(
            datalogger=logger,
            key=kind.key + suffix,
            defaults={
                "label": kind.label + suffix.replace("_", " "),
                "sensor_type": kind.type,
                "unit_of_measure": kind.unit,
            },
        )
        found.append((sensor.pk, kind))
    return found


# A daily wave, a yearly one, and noise that is the same each time: a day that is
# invented again is there already.
_INVENT = """
INSERT INTO {target} (sensor_id, measured_at, received_at, value, flags)
SELECT s.id, at, at + interval '0.4 s', round(100 * (
    s.mean + (s.id %% 7) * s.swing / 20
    + s.swing * sin(2 * pi() * (extract(epoch FROM at) / 86400 - 0.375))
    - s.year_swing * cos(2 * pi() * (extract(epoch FROM at) / 31557600))
    + s.swing * (wave - floor(wave) - 0.5) / 4)) / 100, 0
FROM unnest(%s::bigint[], %s::float8[], %s::float8[], %s::float8[])
    AS s(id, mean, swing, year_swing)
CROSS JOIN generate_series(%s::timestamptz, %s::timestamptz - interval '1 s',
    make_interval(secs => %s)) AS at
CROSS JOIN LATERAL (SELECT
    sin(mod(extract(epoch FROM at)::bigint, 86413) * 12.9898 + s.id * 78.233) * 43758.5
) AS noise(wave)
ON CONFLICT DO NOTHING
"""


def invent_day(day: date, sensors: Sequence[tuple[int, Kind]], interval_s: int) -> int:
    """Store a day's readings and roll up its minutes and hours; return how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        is_new = day not in READINGS.existing()
        if is_new:
            READINGS.make_alone(day)
        name = READINGS.name_of(day)
        cursor.execute(
            _INVENT.format(target=connection.ops.quote_name(name)),
            [
                [sensor_id for sensor_id, _ in sensors],
                [float(kind.mean) for _, kind in sensors],
                [float(kind.swing) for _, kind in sensors],
                [float(kind.year_swing) for _, kind in sensors],
                midnight(day),
                midnight(day + timedelta(days=1)),
                interval_s,
            ],
        )
        stored = int(cursor.rowcount)
        if is_new:
            READINGS.attach(day)
    rollups.fill(midnight(day), midnight(day + timedelta(days=1)))
    return stored
