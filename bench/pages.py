"""How long each page takes, with 300 sites x 20 dataloggers x 10 sensors.

    DATABASE_URL=… REDIS_URL=… .venv/bin/python -m bench.pages [--sites 300]

The database and the Redis must be scratch ones: the first run fills them (a minute).
Times are uvicorn's, from request to last byte over loopback; `cpu` is the web process's
own, which other load on the machine hardly changes. Sizes are bodies as transferred;
`bench.browser` weighs first visits.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from embedded.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
LOGIN = {"username": "bench", "password": "Correct-Horse-9"}
GOAL_MS, GOAL_KB = 150, 100
SITE_PAGES = (
    "",
    "topics/",
    "topics/?state=new",
    "topics/?q=room_7",
    "topics/?page=90",
    "messages/",
    "quarantine/",
    "quarantine/?page=40",
    "commands/",
    "commands/?page=60",
    "connection/",
    "edit/",
)
ADMIN_LISTS = (
    "sites/site",
    "sites/mqttconnection",
    "sites/connectionevent",
    "sites/command",
    "devices/datalogger",
    "devices/sensordevice",
    "devices/presenceperiod",
    "devices/discoveredtopic",
    "telemetry/quarantinedmessage",
    "alerts/alert",
)


def main() -> int:
    options = parse()
    env = environment()
    prepare(env, options)
    with (
        server(env) as (url, pid),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        log_in(client)
        shown = [path for path in paths(client) if options.only in path]
        queries = count_queries(shown, env)
        results = []
        for path in shown:
            results.append(measure(client, pid, path, options))
            print(f"{results[-1]}  queries {queries[path]:2}", flush=True)
    return 0 if all(result.is_good for result in results) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--only", default="", help="paths that hold this text")
    return parser.parse_args()


def add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sites", type=int, default=300)
    parser.add_argument("--dataloggers", type=int, default=20)
    parser.add_argument("--sensors", type=int, default=10)


def environment() -> dict[str, str]:
    own = {"ADMIN_USERNAME": "bench", "ADMIN_PASSWORD": LOGIN["password"]}
    return os.environ | own | {"LOG_LEVEL": "CRITICAL"}


def prepare(env: dict[str, str], sizes: argparse.Namespace) -> None:
    """Migrate and fill the database, and speak for workers that do not run."""
    manage("prepare", env=env)
    wanted = (sizes.sites, sizes.dataloggers, sizes.sensors)
    script = f"from bench.scenery import *; fill{wanted}; pretend()"
    manage("shell", "--no-imports", "-c", script, env=env)


def manage(*arguments: str, env: dict[str, str]) -> str:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


@contextmanager
def server(env: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run the web process; yield its address and its pid."""
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
        yield url, process.pid
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
    """Return every kind of page; of sites the first, which has the longest past."""
    site = first(r'href="(/sites/\d+/)"', client.get("/").text)
    devices = client.get(site).text
    datalogger = first(r'href="(/dataloggers/\d+/)"', devices)
    sensor = first(r'href="(/sensors/\d+/)"', client.get(datalogger).text)
    topic = first(r'href="(/sites/\d+/topics/\d+/)"', client.get(f"{site}topics/").text)
    own = ["/", "/?q=site+2&status=error", *(site + name for name in SITE_PAGES), topic]
    own += ["/sites/new/", datalogger, sensor, "/alerts/", "/nowhere/"]
    lists = [f"/admin/{name}/" for name in ADMIN_LISTS]
    return [*own, *calls(sensor, datalogger), "/admin/", *lists]


def first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, pattern
    return found[1]


def calls(sensor: str, datalogger: str) -> list[str]:
    """Return what a chart asks for: a day, and 30 days; offline times."""
    asked = []
    for days, interval in ((1, "1m"), (30, "auto")):
        start = (datetime.now(UTC) - timedelta(days=days)).isoformat()[:19] + "Z"
        query = f"from={start}&interval={interval}&agg=avg,min,max"
        asked += [f"/api/v1/mqtt{sensor}readings/?{query}"]
        asked += [f"/api/v1/mqtt{datalogger}presence/?from={start}"]
    return asked


def count_queries(shown: list[str], env: dict[str, str]) -> dict[str, int]:
    """Return how many questions to the database each page takes."""
    script = f"""
import json
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
client = Client(headers=dict(host="localhost"))
client.force_login(User.objects.get(username={LOGIN["username"]!r}))
found = dict()
for path in {shown!r}:
    with CaptureQueriesContext(connection) as asked:
        client.get(path)
    found[path] = len(asked)
print(json.dumps(found))
"""
    answer = manage("shell", "--no-imports", "-c", script, env=env)
    return dict(json.loads(answer.splitlines()[-1]))


@dataclass(frozen=True, slots=True)
class Result:
    """Times in ms, of one request; the size in bytes."""

    path: str
    taken: list[float]
    cpu: float
    size: int

    @property
    def is_good(self) -> bool:
        return statistics.median(self.taken) < GOAL_MS and self.size < GOAL_KB * 1000

    def __str__(self) -> str:
        name = re.sub(r"from=[^&]+", "from=…", self.path)
        return (
            f"{name:58.58} median {statistics.median(self.taken):6.1f} ms  "
            f"best {min(self.taken):6.1f}  worst {max(self.taken):6.1f}  "
            f"cpu {self.cpu:5.1f}  {self.size / 1e3:5.1f} kB"
        )


def measure(
    client: httpx.Client, pid: int, path: str, options: argparse.Namespace
) -> Result:
    client.get(path)
    taken: list[float] = []

    def ask() -> None:
        for _ in range(options.times):
            started = time.perf_counter()
            client.get(path)
            taken.append((time.perf_counter() - started) * 1e3)

    before = cpu_ms(pid)
    threads = [threading.Thread(target=ask) for _ in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu = (cpu_ms(pid) - before) / len(taken)
    with client.stream("GET", path) as answer:
        answer.read()
        return Result(path, taken, cpu, answer.num_bytes_downloaded)


def cpu_ms(pid: int) -> float:
    """Return the CPU time that a process has used, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e3


if __name__ == "__main__":
    sys.exit(main())
