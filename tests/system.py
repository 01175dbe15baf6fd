"""The whole system as its users meet it: real processes, reached over HTTP and MQTT.

One `System` is a database of its own on the test PostgreSQL, a Valkey of its own (so
that it may be killed), web, default, beat, and MQTT workers.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
import psycopg2

from embedded.ports import free_port
from embedded.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent
ADMIN = ("root", "Correct-Horse-9")

# What a thing usually takes, times ten, on a machine that does other work as well.
PATIENCE_S = 30.0

# One for all: each would read this machine's certificates, 45 ms of CPU time, and tests
# ask again and again. It keeps no connection, since they kill who is at the other end.
WEB = httpx.Client(timeout=PATIENCE_S, limits=httpx.Limits(max_keepalive_connections=0))

COMMANDS = {
    "web": "uvicorn project.asgi:application --port {port} --log-level warning "
    "--timeout-graceful-shutdown 2 --no-access-log",
    "default": "celery -A project worker -P threads -c 4 -Q default -n default@%h "
    "--without-gossip --without-mingle",
    "beat": "celery -A project beat",
}
MQTT_COMMAND = (
    "celery -A workers worker -P threads -c 4 -Q {queues} -n {name}@%h "
    "--without-gossip --without-mingle"
)


RUNNING: list[System] = []

_prepared: dict[str, str] = {}  # by server, the database that others are copies of


def _with_database(server: str, database: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{database}"))


def _sql_on_server(server: str, statement: str) -> None:
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def _drop_database(server: str, database: str) -> None:
    _sql_on_server(server, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def _forget(server: str, database: str) -> None:
    with suppress(psycopg2.OperationalError):  # it was a test's own, and is gone
        _drop_database(server, database)


def until(
    check: Callable[[], Any],
    what: str,
    timeout_s: float = PATIENCE_S,
    every_s: float = 0.05,
) -> Any:
    """Return the first true answer; fail with the last one after the timeout."""
    end = time.monotonic() + timeout_s
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > end:
            message = f"not in {timeout_s:.0f} s: {what} (last: {answer!r})"
            raise AssertionError(message)
        time.sleep(every_s)


class Process:
    """A process of the system with its output in a file."""

    def __init__(self, name: str, command: str, env: dict[str, str], log: Path) -> None:
        self.name, self.command, self.env, self.log = name, command, env, log
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen(
                self.command.split(),
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    @property
    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def kill(self) -> None:
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait()

    def terminate(self, timeout_s: float = 60) -> float:
        """Return how long a clean stop took, in seconds."""
        assert self.popen is not None
        started = time.monotonic()
        self.popen.send_signal(signal.SIGTERM)
        self.popen.wait(timeout_s)
        return time.monotonic() - started

    def stop(self) -> None:
        if not self.is_running:
            return
        try:
            self.terminate(15)
        except subprocess.TimeoutExpired:
            self.kill()


class System:
    """Starts in `__enter__`, ends everything in `__exit__`."""

    def __init__(self, folder: Path, *, workers: dict[str, str], **env: str) -> None:
        self.folder = folder
        self.valkey = Valkey(folder / "valkey")
        self.server = os.environ["DATABASE_URL"]
        self.database = f"system_{uuid4().hex[:10]}"
        self.instance = self.database
        self.port = free_port()
        self.processes: dict[str, Process] = {}
        self._workers = workers
        self._extra = env
        self._token = ""

    def __enter__(self) -> System:
        RUNNING.append(self)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        self.valkey.start()
        bin_dir = Path(sys.executable).parent
        self.env = {
            **os.environ,
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "DATABASE_URL": self.dsn,
            "REDIS_URL": self.valkey.url,
            # Two systems on one broker with the same client ids take each other's
            # sessions, with the messages in them: a test lost 198 that way.
            "MQTT_INSTANCE_ID": self.instance,
            "ADMIN_USERNAME": ADMIN[0],
            "ADMIN_PASSWORD": ADMIN[1],
            "RECONCILE_INTERVAL": "3",
            "OFFLINE_CHECK_INTERVAL": "3",
            "MQTT_SPOOL_DIR": str(self.folder / "spool"),
            **self._extra,
        }
        self._make_database()
        for name, command in COMMANDS.items():
            self.add(name, command.format(port=self.port))
        for name, queues in self._workers.items():
            self.add_worker(name, queues)
        until(self.is_up, "the web answers and the shards are owned", 120)

    def _make_database(self) -> None:
        """Prepare one database per server, and copy it for each system."""
        server = self.server
        if server not in _prepared:
            name = f"{self.database}_prepared"
            _sql_on_server(server, f"CREATE DATABASE {name}")
            atexit.register(_forget, server, name)
            subprocess.run(
                [sys.executable, "manage.py", "prepare"],
                cwd=ROOT,
                env=self.env | {"DATABASE_URL": _with_database(server, name)},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            _prepared[server] = name
        made_of = _prepared[server]
        _sql_on_server(server, f"CREATE DATABASE {self.database} TEMPLATE {made_of}")

    def __exit__(self, *_: object) -> None:
        RUNNING.remove(self)
        for process in self.processes.values():
            if process.popen is not None and process.is_running:
                process.popen.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.stop()
        self.valkey.stop()
        _drop_database(self.server, self.database)

    def is_up(self) -> bool:
        for process in self.processes.values():
            if not process.is_running:
                tail = process.log.read_text(errors="replace")[-2000:]
                message = f"{process.name} ended:\n{tail}"
                raise AssertionError(message)
        try:
            live = WEB.get(f"{self.url}/api/v1/mqtt/health/live/", timeout=2)
        except httpx.TransportError:
            return False
        owned = self.sql("SELECT count(*) FROM sites_shardlease WHERE owner <> ''")
        return live.status_code == 200 and owned[0][0] == 2

    def add(self, name: str, command: str) -> Process:
        process = Process(name, command, self.env, self.folder / f"{name}.log")
        self.processes[name] = process
        process.start()
        return process

    def add_worker(
        self, name: str, queues: str = "mqtt.shard.0,mqtt.shard.1"
    ) -> Process:
        return self.add(name, MQTT_COMMAND.format(name=name, queues=queues))

    def last_words(self) -> list[tuple[str, str]]:
        """Return, of each process, a title and the end of its log."""
        return [
            (f"end of {process.log}", process.log.read_text(errors="replace")[-2500:])
            for process in self.processes.values()
        ]

    # -- HTTP ------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, username: str = ADMIN[0], password: str = ADMIN[1]) -> str:
        answer = WEB.post(
            f"{self.url}/api/v1/auth/token/",
            json={"username": username, "password": password},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access"])

    @property
    def bearer(self) -> dict[str, str]:
        """The superuser's header."""
        self._token = self._token or self.token()
        return {"Authorization": f"Bearer {self._token}"}

    def call(self, method: str, path: str, expect: int = 200, **kwargs: Any) -> Any:
        """Call the API as the superuser."""
        answer = WEB.request(
            method, f"{self.url}/api/v1/{path}", headers=self.bearer, **kwargs
        )
        assert answer.status_code == expect, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def make_site(self, name: str, port: int, **connection: Any) -> dict[str, Any]:
        site = self.call("POST", "sites/", 201, json={"name": name})
        self.call(
            "PATCH",
            f"mqtt/sites/{site['id']}/connection/",
            json={"broker_host": "127.0.0.1", "broker_port": port, **connection},
        )
        return dict(site)

    def make_enabled_sites(self, count: int, port: int) -> list[dict[str, Any]]:
        """Make many sites at once, wanted from the start; the reconcile starts them."""
        script = (
            "from apps.sites.services import *\n"
            f"for n in range({count}):\n"
            "    connection = connection_of(site_create(name=f'Many {n}'))\n"
            "    connection_configure(connection, fields=dict(\n"
            f"        broker_host='127.0.0.1', broker_port={port}, is_enabled=True))\n"
        )
        subprocess.run(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", script],
            cwd=ROOT,
            env=self.env | {"LOG_LEVEL": "WARNING"},
            check=True,
        )
        rows = self.sql("SELECT id, code FROM sites_site WHERE name LIKE %s", "Many %")
        return [{"id": row[0], "code": row[1]} for row in rows]

    def start_site(self, site: dict[str, Any]) -> None:
        self.call("POST", f"mqtt/sites/{site['id']}/start/")

    def stop_site(self, site: dict[str, Any]) -> None:
        self.call("POST", f"mqtt/sites/{site['id']}/stop/")

    def status(self, site: dict[str, Any]) -> dict[str, Any]:
        return dict(self.call("GET", f"mqtt/sites/{site['id']}/status/"))

    def wait_status(
        self,
        site: dict[str, Any],
        status: str,
        reason: str | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> dict[str, Any]:
        def is_so() -> dict[str, Any] | None:
            seen = self.status(site)
            same = seen["status"] == status and reason in (None, seen["reason"])
            last[:] = [seen["status"], seen["reason"], seen["error_message"]]
            return seen if same else None

        last: list[Any] = []
        try:
            return dict(until(is_so, f"{status} {reason or ''}", timeout_s, 0.1))
        except AssertionError as error:
            message = f"{error}; it is {last}"
            raise AssertionError(message) from None

    def connect(self, site: dict[str, Any]) -> dict[str, Any]:
        self.start_site(site)
        return self.wait_status(site, "connected")

    # -- the database ----------------------------------------------------------

    @property
    def dsn(self) -> str:
        return _with_database(self.server, self.database)

    @contextmanager
    def db(self) -> Iterator[Any]:
        connection = psycopg2.connect(self.dsn)
        try:
            yield connection
        finally:
            connection.close()

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.db() as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []

    def values_of(self, site: dict[str, Any], key: str = "n") -> list[float]:
        """Return every stored value of the site's sensors with this key, sorted."""
        rows = self.sql(
            "SELECT r.value FROM telemetry_reading r "
            "JOIN devices_sensordevice s ON s.id = r.sensor_id "
            "JOIN devices_datalogger d ON d.id = s.datalogger_id "
            "WHERE d.site_id = %s AND s.key = %s ORDER BY 1",
            site["id"],
            key,
        )
        return [row[0] for row in rows]

    def stats_of(self, site: dict[str, Any]) -> dict[str, int]:
        names = ("received", "stored", "duplicate", "quarantined", "dropped")
        rows = self.sql(
            f"SELECT {', '.join(names)} FROM sites_connectionstats t "
            "JOIN sites_mqttconnection c ON c.id = t.connection_id "
            "WHERE c.site_id = %s",
            site["id"],
        )
        return dict(zip(names, rows[0], strict=True))
