"""How long the pages take, with 300 sites x 20 dataloggers x 10 sensors.

    DATABASE_URL=… REDIS_URL=… .venv/bin/python -m bench.pages [--sites 300]

The database and the Redis must be scratch ones: the first run fills them (a minute).
Times are uvicorn's, from request to last byte over loopback; sizes are as transferred,
and "first visit" is a page with all that it loads.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx

from embedded.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
LOGIN = {"username": "bench", "password": "Correct-Horse-9"}
GOAL_MS, GOAL_KB = 150, 100
CHART_KB = 100  # uPlot and what draws with it, on the pages of devices alone


def main() -> int:
    options = parse()
    env = os.environ | {"ADMIN_USERNAME": "bench", "ADMIN_PASSWORD": LOGIN["password"]}
    env |= {"LOG_LEVEL": "ERROR"}
    run("prepare", env=env)
    sizes = (options.sites, options.dataloggers, options.sensors)
    script = f"from bench.pages import *; fill{sizes}; pretend()"
    run("shell", "--no-imports", "-c", script, env=env)
    with server(env) as url, httpx.Client(base_url=url, timeout=60) as client:
        log_in(client)
        pages = [measure(client, path, options) for path in paths(client)]
    return 0 if all(pages) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=300)
    parser.add_argument("--dataloggers", type=int, default=20)
    parser.add_argument("--sensors", type=int, default=10)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--clients", type=int, default=1)
    return parser.parse_args()


def run(*arguments: str, env: dict[str, str]) -> None:
    command = [sys.executable, "manage.py", *arguments]
    subprocess.run(command, cwd=ROOT, env=env, check=True)


@contextmanager
def server(env: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = f"uvicorn project.asgi:application --port {port} --no-access-log"
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split(), "--log-level", "warning"],
        cwd=ROOT,
        env=env,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/api/v1/mqtt/health/live/")
        except httpx.TransportError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def log_in(client: httpx.Client) -> None:
    page = client.get("/login/")
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found
    answer = client.post("/login/", data=LOGIN | {"csrfmiddlewaretoken": found[1]})
    assert answer.status_code == 302, answer.text[:500]


def paths(client: httpx.Client) -> list[str]:
    """Return a page of each kind, the first of those that the list links to."""
    first = re.search(r'href="(/sites/\d+/)"', client.get("/").text)
    assert first
    more = ["/alerts/"] if client.get("/alerts/").status_code == 200 else []
    devices = re.findall(
        r'href="(/(?:dataloggers|sensors)/\d+/)"', client.get(first[1]).text
    )
    kinds = ("/dataloggers/", "/sensors/")
    more += [next(path for path in devices if path.startswith(kind)) for kind in kinds]
    return ["/", "/?q=site+2&status=error", first[1], *more, "/nowhere/"]


def measure(client: httpx.Client, path: str, options: argparse.Namespace) -> bool:
    client.get(path)
    taken: list[float] = []

    def ask() -> None:
        for _ in range(options.times):
            started = time.perf_counter()
            client.get(path)
            taken.append((time.perf_counter() - started) * 1e3)

    threads = [threading.Thread(target=ask) for _ in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    middle, worst = statistics.median(taken), max(taken)
    size, total = transferred(client, path)
    print(
        f"{path:28} median {middle:6.1f} ms  worst {worst:6.1f} ms  "
        f"page {size / 1e3:6.1f} kB  first visit {total / 1e3:6.1f} kB"
    )
    has_chart = path.startswith(("/dataloggers/", "/sensors/"))
    most_kb = GOAL_KB + CHART_KB * has_chart
    return middle < GOAL_MS and total < most_kb * 1000


def transferred(client: httpx.Client, path: str) -> tuple[int, int]:
    """Return the bytes of the page, and of the page with all scripts and styles."""
    page, size = ask_for(client, path)
    total, seen = size, set()
    waiting = [
        (path, name) for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    ]
    while waiting:
        base, name = waiting.pop()
        url = urljoin(base, name)
        if url in seen:
            continue
        seen.add(url)
        text, part = ask_for(client, url)
        total += part
        if url.endswith(".js"):
            waiting += [(url, name) for name in re.findall(r'from "(\..+?)"', text)]
    return size, total


def ask_for(client: httpx.Client, url: str) -> tuple[str, int]:
    with client.stream("GET", url) as answer:
        text = answer.read().decode()
        return text, answer.num_bytes_downloaded


def fill(sites: int, dataloggers: int, sensors: int) -> None:
    """Invent what is missing; sites are in every state, two in three connected."""
    from django.utils import timezone

    from apps.devices.models import Datalogger, SensorDevice
    from apps.sites.models import ConnectionStats, MqttConnection, Site

    if Site.objects.count() >= sites:
        return
    now = timezone.now()
    made = Site.objects.bulk_create(
        Site(name=f"Stabilimento di prova {n}", code=f"site_{n:03}")
        for n in range(sites)
    )
    looks = [("connected", "")] * 4 + [("error", "dns"), ("disconnected", "")]
    connections = MqttConnection.objects.bulk_create(
        MqttConnection(
            site=site,
            broker_host=f"broker{n % 7}.plant.example",
            is_enabled=looks[n % 6][0] != "disconnected",
            status=looks[n % 6][0],
            reason=looks[n % 6][1],
            report_epoch=1,
            last_connected_at=now,
        )
        for n, site in enumerate(made)
    )
    ConnectionStats.objects.bulk_create(
        ConnectionStats(connection=row, received=9_999, last_message_at=now)
        for row in connections
    )
    devices = Datalogger.objects.bulk_create(
        (
            Datalogger(
                site=site,
                type="monstro",
                number=str(n),
                label=f"Datalogger edificio {n}",
                presence=("online", "online", "offline", "unknown")[n % 4],
                firmware_version="V.5.53.0",
                last_seen_at=now,
            )
            for site in made
            for n in range(dataloggers)
        ),
        batch_size=5_000,
    )
    SensorDevice.objects.bulk_create(
        (
            SensorDevice(
                datalogger=device,
                key=f"s{n}",
                label=f"Temperatura {n}",
                sensor_type="temperature",
                unit_of_measure="°C",
                current_value=device.pk % 977 / 7 + n,
                current_at=now,
            )
            for device in devices
            for n in range(sensors)
        ),
        batch_size=5_000,
    )


def pretend() -> None:
    """Speak for workers: leases for an hour, reports with half an hour of counts."""
    from datetime import timedelta

    from django.utils import timezone  # after django.setup

    from apps.sites import reports
    from apps.sites.leases import take
    from apps.sites.models import MqttConnection, ShardLease

    now, chance = timezone.now(), random.Random(7)
    for shard in (0, 1):
        take(shard, "bench@pages")
    ShardLease.objects.update(expires_at=now + timedelta(hours=1))
    epochs = dict(ShardLease.objects.values_list("shard", "epoch"))
    reports.store(
        (
            reports.Report(
                connection_id=row.pk,
                site_id=row.site_id,
                generation=row.generation,
                epoch=epochs[row.site_id % 2],
                seq=1,
                status=row.status,
                reason=row.reason,
                detail="",
                at=now,
                owner="bench@pages",
                shard=row.site_id % 2,
                last_message_at=now,
                topics=("a/+/heartbeat",) * 9,
                per_minute=tuple(chance.choices(range(200), k=30)),
            )
            for row in MqttConnection.objects.exclude(status="disconnected")
        ),
        ttl_s=3600,
    )


if __name__ == "__main__":
    sys.exit(main())
