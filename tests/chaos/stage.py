"""All that a chaos run needs: own servers, proxies before them, the system.

Every MQTT worker reaches PostgreSQL and Valkey
through proxies of its own, so that it alone can be cut off; every site reaches the
broker through one of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg2
import redis

from embedded import proc
from embedded.broker import Broker
from embedded.ports import free_port
from embedded.postgres import Postgres
from embedded.valkey import Valkey
from tests.chaos.judge import Books, Current, Quarantined, Row, Store
from tests.proxy import Proxy
from tests.system import ADMIN, COMMANDS, MQTT_COMMAND, ROOT, Process, until

SHARDS = 2
WORKERS = {
    "mqtt0": "mqtt.shard.0",
    "mqtt1": "mqtt.shard.1",
    "mqtt9": "mqtt.shard.0,mqtt.shard.1",  # the standby
}
LOOK_EVERY_S = 0.5
OURS = "CHAOS_FOLDER"  # in the environment of every process of a run
SECRETS = {
    "SECRET_KEY": "chaos-only-" * 5,
    "FIELD_ENCRYPTION_KEYS": "Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2g=",
}


@dataclass(frozen=True, slots=True)
class Site:
    id: int
    code: str


@dataclass(frozen=True, slots=True)
class Exit:
    """A process that ended though nobody had told it to."""

    name: str
    code: int
    at: float
    last_words: str


class Stage:
    """Starts in `__enter__`, ends everything in `__exit__`."""

    def __init__(self, folder: Path, site_count: int) -> None:
        self.folder = folder
        self.site_count = site_count
        # Durable: a killed PostgreSQL must have what it committed.
        self.postgres = Postgres(folder / "pg", fsync=True)
        self.valkey = Valkey(folder / "valkey")
        self.broker = Broker(folder / "broker")
        self.processes: dict[str, Process] = {}
        self.proxies: dict[str, Proxy] = {}
        self.sites: list[Site] = []
        self.exits: list[Exit] = []
        self.takeovers = 0
        self.longest_orphaned_s = 0.0  # a shard without a living lease, PostgreSQL up
        self.spool_drains = 0  # looks at which a spool had given up some of its rows
        self.web_port = free_port()
        self._drained: dict[str, int] = {}  # by spool
        self._owners: dict[int, tuple[int, str]] = {}  # by shard: epoch, node
        self._held: set[str] = set()
        self._stack = ExitStack()
        self._end = threading.Event()
        self._starting = threading.Lock()
        self._keeper = threading.Thread(target=self._keep, name="keeper")

    # -- start and end ---------------------------------------------------------

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self._finish()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def _start(self) -> None:
        for server in (self.postgres, self.valkey, self.broker):
            self._stack.enter_context(server)
        self.env = {
            **os.environ,
            **SECRETS,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "MQTT_INSTANCE_ID": "chaos",
            "MQTT_SHARDS": str(SHARDS),
            "RECONCILE_INTERVAL": "5",
            "OFFLINE_CHECK_INTERVAL": "5",
            "MQTT_SPOOL_DIR": str(self.folder / "spool"),
            "LOG_LEVEL": "INFO",
            "ADMIN_USERNAME": ADMIN[0],
            "ADMIN_PASSWORD": ADMIN[1],
            OURS: str(self.folder),
        }
        self._manage("prepare")
        self._make_sites()
        for name, command in COMMANDS.items():
            self._add(name, command.format(port=self.web_port), self.env)
        for name, queues in WORKERS.items():
            self._add(
                name,
                MQTT_COMMAND.format(name=name, queues=queues),
                {
                    **self.env,
                    "DATABASE_URL": self._behind(f"database:{name}", self.postgres.url),
                    "REDIS_URL": self._behind(f"redis:{name}", self.valkey.url),
                },
            )
        until(self.is_up, "all sites connected", 120, every_s=0.5)
        self._look_at_owners()
        self._keeper.start()

    def _finish(self) -> None:
        self._end.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for process in self.processes.values():
            if process.popen is not None and process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.stop()
        left = proc.with_variable(OURS, str(self.folder))
        proc.signal_all(left, signal.SIGKILL)
        for proxy in self.proxies.values():
            proxy.stop()
        self._stack.close()
        self.postgres.remove_data()  # may be outside of our folder

    def _add(self, name: str, command: str, env: dict[str, str]) -> None:
        process = Process(name, command, env, self.folder / f"{name}.log")
        self.processes[name] = process
        process.start()

    def _behind(self, name: str, url: str) -> str:
        """Return the URL of a proxy before a server."""
        parts = urlsplit(url)
        assert parts.port is not None
        proxy = Proxy(parts.port).start()
        self.proxies[name] = proxy
        login, _, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))

    def _make_sites(self) -> None:
        lines = ["from apps.sites.services import *"]
        for number in range(self.site_count):
            proxy = Proxy(self.broker.port).start()
            self.proxies[f"broker:{number}"] = proxy
            lines += [
                f"connection = connection_of(site_create(name='Chaos {number}'))",
                "connection_configure(connection, fields=dict("
                f"broker_host='127.0.0.1', broker_port={proxy.port}, is_enabled=True))",
            ]
        self._manage("shell", "--no-imports", "-c", "\n".join(lines))
        rows = self.sql("SELECT id, code FROM sites_site ORDER BY id")
        self.sites = [Site(*row) for row in rows]

    def press_start(self) -> None:
        """Start every site, as a person would: it ends all waiting."""
        self._manage(
            "shell",
            "--no-imports",
            "-c",
            "from apps.sites.services import *\n"
            "for site in Site.objects.all():\n    connection_start(site)",
        )

    def _manage(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.env, "LOG_LEVEL": "WARNING"},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            message = f"manage.py {arguments[0]} failed: {done.stderr[-1_000:]}"
            raise RuntimeError(message)

    # -- processes -------------------------------------------------------------

    def resolve(self, target: str) -> str:
        """Put the name of a shard's owner in the place of `owner:N`."""
        for shard, (_, node) in list(self._owners.items()):
            target = target.replace(f"owner:{shard}", node.partition("@")[0])
        return target

    def hold(self, name: str) -> None:
        """Have a process not started again: a fault ends it on purpose."""
        with self._starting:
            self._held.add(name)

    def release(self, name: str) -> None:
        self._held.discard(name)

    def _keep(self) -> None:
        """Start again what ended by itself, as a process manager does."""
        while not self._end.wait(LOOK_EVERY_S):
            for name, process in self.processes.items():
                popen = process.popen
                if popen is None or popen.poll() is None or name in self._held:
                    continue
                self.exits.append(
                    Exit(name, popen.returncode, time.time(), _tail(process.log))
                )
                if self._end.wait(1.0):
                    return
                with self._starting:
                    if name not in self._held and popen is process.popen:
                        process.start()
            self._look_at_owners()

    def _look_at_owners(self) -> None:
        try:
            rows = self.sql(
                "SELECT shard, epoch, owner, "
                "extract(epoch FROM clock_timestamp() - expires_at)::float8 "
                "FROM sites_shardlease"
            )
        except psycopg2.Error:
            return
        self._look_at_spools()
        for shard, epoch, owner, orphaned_s in rows:
            self.longest_orphaned_s = max(self.longest_orphaned_s, orphaned_s)
            if not owner:
                continue
            node = owner.partition("/")[0]
            before = self._owners.get(shard)
            if before is not None and before[0] != epoch and before[1] != node:
                self.takeovers += 1
            self._owners[shard] = (epoch, node)

    def _look_at_spools(self) -> None:
        with suppress(psycopg2.Error):
            rows = self.sql("SELECT id::text, drained FROM telemetry_spoolmark")
            for spool, drained in rows:
                self.spool_drains += drained > self._drained.get(spool, 0)
                self._drained[spool] = max(drained, self._drained.get(spool, 0))

    def is_up(self) -> bool:
        """Whether every shard has a living owner and every site is connected."""
        try:
            shards = self.sql(
                "SELECT count(*) FROM sites_shardlease "
                "WHERE owner <> '' AND expires_at > now()"
            )[0][0]
        except psycopg2.Error:
            return False
        said = self.reports()
        connected = [r for r in said.values() if r["status"] == "connected"]
        return shards == SHARDS and len(connected) == len(self.sites)

    def reports(self) -> dict[int, dict[str, Any]]:
        """Return what the workers say in Redis, by site."""
        with closing(self._redis()) as client:
            try:
                keys = client.keys("guardiano:report:*")
                raws = client.mget(keys) if keys else []
            except redis.RedisError:
                return {}
        said = [json.loads(raw) for raw in raws if raw]
        return {report["site_id"]: report for report in said}

    def flush_redis(self) -> None:
        with closing(self._redis()) as client:
            client.flushall()

    def _redis(self) -> Any:
        return redis.Redis.from_url(self.valkey.url, socket_timeout=2)

    def counters(self) -> dict[int, dict[str, int]]:
        """Return each site's counters as the API tells them."""
        base = f"http://127.0.0.1:{self.web_port}/api/v1"
        login = {"username": ADMIN[0], "password": ADMIN[1]}
        with httpx.Client(timeout=30) as client:
            answer = client.post(f"{base}/auth/token/", json=login)
            answer.raise_for_status()
            client.headers["Authorization"] = f"Bearer {answer.json()['access']}"
            said = {
                site.id: client.get(f"{base}/mqtt/sites/{site.id}/status/")
                for site in self.sites
            }
        return {
            site: dict(answer.raise_for_status().json()["counters"])
            for site, answer in said.items()
        }

    def gaps(self) -> dict[str, int]:
        """Return how many gaps are suspected, by their cause."""
        return dict(
            self.sql("SELECT cause, count(*) FROM sites_suspectedgap GROUP BY cause")
        )

    def calm(self) -> None:
        """Undo every fault that is still there."""
        for proxy in self.proxies.values():
            proxy.heal()
        for server in (self.postgres, self.valkey, self.broker):
            server.thaw()
            server.start(60)
        for name, process in self.processes.items():
            assert process.popen is not None
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
            else:
                process.start()
            self.release(name)

    def stop_workers(self) -> None:
        """End the MQTT workers cleanly: nothing comes any more."""
        for name in WORKERS:
            self.hold(name)
        for name in WORKERS:
            self.processes[name].stop()

    # -- the database ----------------------------------------------------------

    @contextmanager
    def db(self) -> Iterator[Any]:
        """Connect directly, not through a proxy."""
        connection = psycopg2.connect(
            self.postgres.url,
            connect_timeout=3,
            options="-c statement_timeout=60000 -c jit=off",
        )
        try:
            yield connection
        finally:
            connection.close()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with self.db() as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def stored(self) -> int:
        """Return how many messages are stored or in the quarantine; -1 when unknown."""
        try:
            return int(
                self.sql(
                    "SELECT COALESCE(sum(stored + quarantined), 0) "
                    "FROM sites_connectionstats"
                )[0][0]
            )
        except psycopg2.Error:
            return -1

    def everything(self) -> Store:
        us = "(extract(epoch FROM {}) * 1000000)::bigint"
        rows = self.sql(
            "SELECT d.site_id, d.number, s.key, r.value, r.text, "
            f"{us.format('r.measured_at')}, {us.format('r.received_at')}, r.flags "
            "FROM telemetry_reading r "
            "LEFT JOIN devices_sensordevice s ON s.id = r.sensor_id "
            "LEFT JOIN devices_datalogger d ON d.id = s.datalogger_id"
        )
        quarantine = self.sql(
            f"SELECT site_id, payload, {us.format('received_at')} "
            "FROM telemetry_quarantinedmessage"
        )
        currents = self.sql(
            "SELECT d.site_id, d.number, s.key, s.current_value, s.current_text, "
            f"{us.format('s.current_at')} FROM devices_sensordevice s "
            "JOIN devices_datalogger d ON d.id = s.datalogger_id"
        )
        books = self.sql(
            "SELECT c.site_id, t.received, t.stored, t.duplicate, t.quarantined, "
            "t.dropped FROM sites_connectionstats t "
            "JOIN sites_mqttconnection c ON c.id = t.connection_id"
        )
        return Store(
            rows=[Row(*row) for row in rows],
            quarantine=[Quarantined(s, bytes(p), at) for s, p, at in quarantine],
            currents=[Current(*row) for row in currents],
            books={row[0]: Books(*row[1:]) for row in books},
        )


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 1_500))
        return file.read().decode(errors="replace")


def run_on_stage(
    folder: Path, sites: int, run: Callable[[Stage], int], *, keep: bool
) -> int:
    """Run something on a stage in this folder; return its status.

    The folder, with the logs, stays unless the status is 0, or when told to keep it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder.chmod(0o755)  # PostgreSQL runs as nobody when we are root
    status = 1
    try:
        with Stage(folder, sites) as stage:
            status = run(stage)
    finally:
        if status == 0 and not keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"logs are kept in {folder}")
    return status
