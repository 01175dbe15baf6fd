"""Browsers times events: how late an event is when many listen to one web process."""

from __future__ import annotations

from bench.results import Result, percentile
from bench.stage import Stage

CASES = ((100, 20), (500, 20), (1_000, 5))  # clients, events a second
SCRIPT = """
import time
from datetime import UTC, datetime
from apps.core import events
began = time.monotonic()
for n in range({count}):
    time.sleep(max(0.0, began + n / {rate} - time.monotonic()))
    at = datetime.now(UTC).isoformat()
    values = [dict(sensor_id=1, value=n, at=at)]
    events.emit([events.site_channel({site})], "telemetry", dict(seq=n, values=values))
time.sleep(3)  # the last one is still on its way
"""


def measure(*, quick: bool) -> list[Result]:
    seconds = 3 if quick else 15
    results: list[Result] = []
    with Stage() as stage:
        stage.make_sites(1, is_enabled=False)
        for clients, rate in CASES[:1] if quick else CASES:
            with stage.web() as url:
                late = _case(stage, url, clients, script(stage, rate, seconds))
            share = 100 * len(late) / (clients * rate * seconds)
            words = f"{clients:,} browsers x {rate} events/s"
            results += [
                Result(f"{words}: late by, p50", percentile(late, 0.5), "ms"),
                Result(f"{words}: late by, p99", percentile(late, 0.99), "ms"),
                Result(f"{words}: delivered", share, "%", at_least=100),
            ]
    return results


def script(stage: Stage, rate: int, seconds: int) -> str:
    site = int(stage.number("SELECT id FROM sites_site"))
    return SCRIPT.format(count=rate * seconds, rate=rate, site=site)


def _case(stage: Stage, url: str, clients: int, emitting: str) -> list[float]:
    """Return how many ms late each delivery was."""
    sites = [str(int(stage.number("SELECT id FROM sites_site")))] * clients
    with stage.listener(url, sites) as heard:
        stage.run("manage.py", "shell", "--no-imports", "-c", emitting)
    return [(arrived_us - values[0][1]) / 1e3 for arrived_us, values in heard if values]
