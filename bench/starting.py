"""From a person's start to connected: web, worker, broker and back, over the API."""

from __future__ import annotations

import time

import httpx

from bench.results import Result, percentile
from bench.stage import DEFAULT, Stage

TIMES = 20
PATIENCE_S = 60.0


def measure(*, quick: bool) -> list[Result]:
    started: list[float] = []
    stopped: list[float] = []
    with Stage() as stage:
        stage.make_sites(1, is_enabled=False)
        site = int(stage.number("SELECT id FROM sites_site"))
        with stage.web() as url, stage.process(DEFAULT), stage.worker():
            headers = {"Authorization": f"Bearer {stage.token(url)}"}
            base = f"{url}/api/v1/mqtt/sites/{site}/"
            with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
                _press(client, "start", "connected")  # the first one loads code
                _press(client, "stop", "disconnected")
                for _ in range(5 if quick else TIMES):
                    started.append(_press(client, "start", "connected"))
                    stopped.append(_press(client, "stop", "disconnected"))
    return [
        Result("start pressed -> connected, p50", percentile(started, 0.5), "ms"),
        Result(
            "start pressed -> connected, p95",
            percentile(started, 0.95),
            "ms",
            at_most=2_000,
        ),
        Result("stop pressed -> disconnected, p50", percentile(stopped, 0.5), "ms"),
        Result("stop pressed -> disconnected, p95", percentile(stopped, 0.95), "ms"),
    ]


def _press(client: httpx.Client, button: str, status: str) -> float:
    """Return after how many ms the API says so."""
    began = time.monotonic()
    client.post(f"{button}/").raise_for_status()
    while time.monotonic() < began + PATIENCE_S:
        if client.get("status/").json()["status"] == status:
            return (time.monotonic() - began) * 1e3
        time.sleep(0.02)
    message = f"not {status} within {PATIENCE_S:.0f} s"
    raise SystemExit(message)
