"""Servers of a benchmark's own, as durable as by default, and the system on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import psycopg2

from bench.generator import Plan, connect
from embedded.broker import Broker
from embedded.mosquitto import mosquitto_binary
from embedded.ports import free_port
from embedded.postgres import Postgres
from embedded.server import Server
from embedded.valkey import Valkey

# Every 10 s mosquitto would write all that is queued to disk and do nothing else, for
# 100 ms with 100,000 messages: that is not what is measured here.
QUIET_BROKER = "autosave_interval 0\n"
ROOT = Path(__file__).resolve().parent.parent
LOGIN = ("bench", "bench-password")
ADMIN = ("bench", "Correct-Horse-9")
WORKER = (
    "celery -A workers worker -P threads -c 4 -Q mqtt.shard.0 -n {name}@%h "
    "--without-gossip --without-mingle"
)
DEFAULT = (
    "celery -A project worker -P threads -c 4 -Q default -n default@%h "
    "--without-gossip --without-mingle"
)
WEB = "uvicorn project.asgi:application --port {port} --log-level warning "
WEB += "--timeout-graceful-shutdown 2 --no-access-log"


@dataclass(frozen=True, slots=True)
class Published:
    """What a generator did."""

    acked: int
    began: float  # Unix time
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.acked / self.seconds


class Stage:
    """PostgreSQL (fsync on), Valkey and a broker in a temporary directory."""

    def __init__(self, *, commit_times: bool = False) -> None:
        """Prepare a stage; nothing runs yet.

        Args:
            commit_times: have PostgreSQL remember when each row was committed.
        """
        self._commit_times = commit_times
        self._stack = ExitStack()
        self._connection: Any = None  # psycopg2 has no types

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        self.folder = folder
        self.postgres = self._stack.enter_context(Postgres(folder / "pg"))
        self._stack.callback(self.postgres.remove_data)  # may be outside of the folder
        self._stack.callback(self.postgres.stop)
        self.valkey = self._stack.enter_context(Valkey(folder / "valkey"))
        self.broker = self._stack.enter_context(
            Broker(
                folder / "broker",
                users={LOGIN[0]: LOGIN[1]},
                extra_config=QUIET_BROKER if mosquitto_binary() else "",
            )
        )
        if self._commit_times:
            self.sql("ALTER SYSTEM SET track_commit_timestamp = on")
            self._connection.close()
            self.postgres.restart(60)
        bin_dir = Path(sys.executable).parent
        self.env = {
            "SECRET_KEY": "bench-only-" * 5,
            "FIELD_ENCRYPTION_KEYS": "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmU=",
            "LOG_LEVEL": "WARNING",
            **os.environ,
            "PATH": f"{bin_dir}:{os.environ.get('PATH', '')}",
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "MQTT_INSTANCE_ID": "bench",
            "MQTT_SHARDS": "1",
            "MQTT_SPOOL_DIR": str(folder / "spool"),
            "ADMIN_USERNAME": ADMIN[0],
            "ADMIN_PASSWORD": ADMIN[1],
        }
        self.run("manage.py", "prepare")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and (log := self.folder / "processes.log").exists():
            print(log.read_text(errors="replace")[-3_000:], file=sys.stderr)
        self._stack.__exit__(kind, error, trace)

    # -- processes -------------------------------------------------------------

    @staticmethod
    def pid_of(server: Server) -> int:
        assert server.process is not None
        return server.process.pid

    def run(self, *arguments: str) -> str:
        """Run Python to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.env,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    @contextmanager
    def process(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command of the virtual environment beside the benchmark."""
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                command.split(),
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def worker(self, name: str = "mqtt0") -> Iterator[subprocess.Popen[bytes]]:
        """Run an MQTT worker; when this begins it owns its shard."""
        with self.process(WORKER.format(name=name)) as process:
            owned = "SELECT count(*) FROM sites_shardlease WHERE owner <> ''"
            until(lambda: self.number(owned) == 1, "the worker owns its shard")
            yield process

    @contextmanager
    def web(self) -> Iterator[str]:
        """Run a web process; gives its address."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with self.process(WEB.format(port=port)):
            until(lambda: _answers(url), "the web process answers")
            yield url

    @contextmanager
    def listener(self, url: str, sites: list[str]) -> Iterator[list[Any]]:
        """Listen as that many browsers; what `bench.listener` heard is there then.

        Args:
            url: of the web process.
            sites: by id, one browser each; may repeat.
        """
        heard: list[Any] = []
        command = [sys.executable, "-m", "bench.listener", url, self.token(url), *sites]
        with subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, text=True
        ) as listener:
            assert listener.stdout is not None
            try:
                assert listener.stdout.readline() == "ready\n"
                yield heard
            finally:
                listener.send_signal(signal.SIGTERM)
            heard += [json.loads(line) for line in listener.stdout]

    def token(self, url: str) -> str:
        """Return the superuser's token for the API."""
        login = {"username": ADMIN[0], "password": ADMIN[1]}
        answer = httpx.post(f"{url}/api/v1/auth/token/", json=login, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access"])

    # -- sites and messages ----------------------------------------------------

    def make_sites(
        self, count: int, *, protocol: str = "3.1.1", is_enabled: bool = True
    ) -> list[str]:
        """Return the codes of new sites on the stage's broker."""
        port = self.broker.port if protocol == "3.1.1" else self.broker.v5_port
        script = (
            "from django.db import transaction\n"
            "from apps.sites.services import *\n"
            "with transaction.atomic():\n"
            f"  for n in range({count}):\n"
            "    connection = connection_of(site_create(name=f'Bench {n}'))\n"
            f"    connection_configure(\n"
            f"        connection, password='{LOGIN[1]}', fields=dict(\n"
            f"        broker_host='127.0.0.1', broker_port={port},\n"
            f"        username='{LOGIN[0]}', protocol='{protocol}',\n"
            f"        is_enabled={is_enabled}))\n"
        )
        self.run("manage.py", "shell", "--no-imports", "-c", script)
        rows = self.sql(
            f"SELECT code FROM sites_site ORDER BY id DESC LIMIT {int(count)}"
        )
        return [str(row[0]) for row in reversed(rows)]

    def plan(self, codes: list[str], messages: int, rate: float, **but: object) -> Plan:
        return Plan(self.broker.port, codes, messages, rate, list(LOGIN), **but)  # type: ignore[arg-type]

    def publish(self, plan: Plan) -> Published:
        """Have a generator publish; return when the broker has confirmed everything."""
        out = self.run("-m", "bench.generator", json.dumps(asdict(plan)))
        return Published(**json.loads(out))

    def warm_up(self, codes: list[str], each: int = 100) -> None:
        """Publish and wait until it is stored: connections and devices are there."""
        stored = "SELECT COALESCE(sum(stored), 0) FROM sites_connectionstats"
        before = self.number(stored)
        # Sent before a site has subscribed, a message is nobody's: once more, then.
        for _ in range(60):
            seen = self.number(stored)
            self.publish(self.plan(codes, len(codes), 1_000, name="warm"))
            time.sleep(0.5)
            if self.number(stored) >= seen + len(codes):
                break
        else:
            message = "the sites did not come up"
            raise SystemExit(message)
        self.publish(self.plan(codes, each * len(codes), 2_000))
        enough = before + each * len(codes)
        until(lambda: self.number(stored) >= enough, "the warm-up is stored")
        self.settle()

    def end_sessions(self) -> None:
        """Have the broker keep nothing for the workers, who are not there any more."""
        for (site,) in self.sql("SELECT id FROM sites_site"):
            name = f"site_{site}_{self.env['MQTT_INSTANCE_ID']}"
            with connect(self.broker.port, name, LOGIN) as link:
                link.sendall(b"\xe0\x00")

    def settle(self) -> None:
        """Wait until nothing is stored any more."""
        stored = "SELECT COALESCE(sum(received), 0) FROM sites_connectionstats"
        last = -1.0
        while last < (last := self.number(stored)):
            time.sleep(0.7)

    # -- the database ----------------------------------------------------------

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement on a connection that stays: a new one costs CPU time."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg2.connect(self.postgres.url)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def number(self, statement: str) -> float:
        value = self.sql(statement)[0][0]
        return float(str(value)) if value is not None else 0.0


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v1/mqtt/health/live/", timeout=5).is_success
    except httpx.TransportError:
        return False


def memory_mb(pid: int) -> float:
    """Return how much memory a process has to itself and shares, in MB (RSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1_000


@dataclass(frozen=True, slots=True)
class CpuMeter:
    """CPU seconds of some processes and their children, since it was made."""

    before: dict[str, float]
    pids: dict[str, int]

    @classmethod
    def of(cls, **pids: int) -> CpuMeter:
        return cls({name: _cpu_s(pid) for name, pid in pids.items()}, pids)

    def used(self) -> dict[str, float]:
        return {
            name: _cpu_s(pid) - self.before[name] for name, pid in self.pids.items()
        }


def _cpu_s(parent: int) -> float:
    """Return the CPU time of a process and its children, also those that ended."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(stat.parent.name) == parent:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == parent:
            total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def until(check: Callable[[], bool], what: str, timeout_s: float = 180) -> None:
    end = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > end:
            message = f"not in {timeout_s:.0f} s: {what}"
            raise SystemExit(message)
        time.sleep(0.05)
