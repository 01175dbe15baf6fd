"""What a message costs as sites, devices and the history grow.

The same number of messages at one rate each time; the cost is the CPU time of worker
and PostgreSQL, which a busy neighbour changes less than a rate.
"""

from __future__ import annotations

import time

from bench.results import Result
from bench.stage import CpuMeter, Stage, until

SITES = (1, 10, 100, 300)
DATALOGGERS = (100, 1_000, 10_000)  # two sensors each
HISTORY = (0, 1_000_000, 10_000_000)  # readings that are there already
RATE = 5_000
STORED = "SELECT sum(stored + duplicate) FROM sites_connectionstats"

# Hours of readings of the sensors that are there.
FILL = """
INSERT INTO telemetry_reading (sensor_id, measured_at, received_at, value, flags)
SELECT s.id, at, at, 1, 0
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS all_of_them
      FROM devices_sensordevice) s
CROSS JOIN LATERAL (
    SELECT now() - interval '10 minutes' - random() * interval '6 hours' AS at
    FROM generate_series(1, ({count} / s.all_of_them)::int)
) t
ON CONFLICT DO NOTHING
"""
CHART = """
SELECT count(*) FROM telemetry_reading
WHERE sensor_id = (SELECT max(id) FROM devices_sensordevice)
AND measured_at > now() - interval '1 hour'
"""


def measure(*, quick: bool) -> list[Result]:
    messages = 3_000 if quick else 30_000
    results: list[Result] = []
    few = 2 if quick else 9
    for sites in SITES[:few]:
        with Stage() as stage, _Line(stage, sites) as line:
            cost = line.cost(messages, dataloggers=100 // min(sites, 100))
        results.append(Result(f"a message, {sites} sites", cost, "µs CPU"))
    with Stage() as stage, _Line(stage, 4) as line:
        for dataloggers in DATALOGGERS[:few]:
            each = dataloggers // 4
            line.cost(4 * each, dataloggers=each)  # they are made
            cost = line.cost(messages, dataloggers=each)
            words = f"a message, {dataloggers:,} dataloggers of 4 sites"
            results.append(Result(words, cost, "µs CPU"))
    with Stage() as stage, _Line(stage, 4) as line:
        line.cost(1_000, dataloggers=100)
        for readings in HISTORY[:few]:
            stage.sql(FILL.format(count=readings))
            # Else PostgreSQL does it by itself, while the cost is measured.
            stage.sql("VACUUM ANALYZE telemetry_reading")
            stage.sql("CHECKPOINT")
            cost = line.cost(messages, dataloggers=100)
            words = f"{readings:,} readings of the day there"
            results.append(Result(f"a message, {words}", cost, "µs CPU"))
            results.append(Result(f"an hour of a sensor, {words}", _ask(stage), "ms"))
    return results


class _Line:
    """A worker and its sites, up as long as this is entered."""

    def __init__(self, stage: Stage, sites: int) -> None:
        self._stage = stage
        self._codes = stage.make_sites(sites)
        self._running = stage.worker()

    def __enter__(self) -> _Line:
        self._worker = self._running.__enter__()
        self._stage.warm_up(self._codes, each=20)
        return self

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(*error)  # type: ignore[arg-type]

    def cost(self, messages: int, *, dataloggers: int) -> float:
        """Return the CPU time of worker and PostgreSQL for each message, in µs."""
        stage = self._stage
        goal = stage.number(STORED) + messages
        meter = CpuMeter.of(
            worker=self._worker.pid, postgres=stage.pid_of(stage.postgres)
        )
        plan = stage.plan(self._codes, messages, RATE, dataloggers=dataloggers)
        stage.publish(plan)
        until(lambda: stage.number(STORED) >= goal, "everything is stored", 300)
        return sum(meter.used().values()) / messages * 1e6


def _ask(stage: Stage) -> float:
    """Return the best of five, in ms."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        stage.sql(CHART)
        taken.append((time.perf_counter() - began) * 1e3)
    return min(taken)
