"""Servers of a benchmark's own, with their default durability, and a worker on them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import psycopg2

from embedded.broker import Broker
from embedded.postgres import Postgres
from embedded.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent
LOGIN = ("bench", "bench-password")


class Stage:
    """PostgreSQL (fsync on), Valkey and a broker in a temporary directory."""

    def __enter__(self) -> Stage:
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        self.folder = folder
        self.postgres = self._stack.enter_context(Postgres(folder / "pg"))
        self.valkey = self._stack.enter_context(Valkey(folder / "valkey"))
        self.broker = self._stack.enter_context(
            Broker(folder / "broker", users={LOGIN[0]: LOGIN[1]})
        )
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
        }
        self.run("manage.py", "prepare")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

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
    def process(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command of the virtual environment beside the benchmark."""
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def worker(self) -> object:
        return self.process(
            *[
                "celery",
                "-A",
                "workers",
                "worker",
                "-P",
                "threads",
                "-c",
                "4",
                "-Q",
                "mqtt.shard.0",
                "-n",
                "mqtt0@%h",
                "--without-gossip",
                "--without-mingle",
            ]
        )

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(self.postgres.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def number(self, statement: str) -> float:
        value = self.sql(statement)[0][0]
        return float(str(value)) if value is not None else 0.0


def until(check: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > end:
            message = f"not in {timeout_s:.0f} s: {what}"
            raise SystemExit(message)
        time.sleep(0.05)
