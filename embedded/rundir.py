"""The state directory `.run`: who runs, its status, its variables, its leftovers."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from embedded import proc
from embedded.errors import DevError
from embedded.server import make_dir, write_private

# In the environment of every process of a running system (and only there), so that one
# whose parent was killed can still be told from a stranger.
MARKER = "GUARDIANO_RUN_DIR"
STOP_TIMEOUT_S = 8.0


class AlreadyRunningError(DevError):
    """Another `up` holds this directory."""

    def __init__(self, pid: int | None, url: str) -> None:
        where = f" at {url}" if url else ""
        super().__init__(f"already running{where} (pid {pid or 'unknown'})")


@dataclass
class RunDir:
    """Files below `.run`. Holds the lock for as long as the object lives."""

    path: Path
    _lock: IO[str] | None = field(default=None, init=False)

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def claim(self) -> None:
        """Become the one runner of this directory.

        Raises:
            AlreadyRunningError: somebody else is.
            DevError: the directory cannot be made or written.
        """
        make_dir(self.path)
        # Not inherited by children (Python opens with O_CLOEXEC), so the lock goes
        # with this process, however it ends.
        try:
            lock = (self.path / "lock").open("a+")
        except OSError as error:
            message = f"cannot write to {self.path}: {error.strerror}"
            raise DevError(message) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise AlreadyRunningError(self.runner_pid(), self.url()) from error
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()} {proc.start_time(os.getpid())}")
        lock.flush()
        self._lock = lock

    def release(self) -> None:
        """Say that nothing runs any more."""
        for name in ("status.json", "env.json"):
            (self.path / name).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def runner_pid(self) -> int | None:
        """Pid of the live runner, or None."""
        try:
            text = (self.path / "lock").read_text()
            pid, started = (int(part) for part in text.split())
        except (OSError, ValueError):
            return None
        return pid if proc.is_same(pid, started) else None

    def url(self) -> str:
        return str(self.status().get("url", ""))

    def status(self) -> dict[str, Any]:
        """What the runner wrote last; {} when there is nothing to read."""
        return self._read("status.json")

    def write_status(self, status: dict[str, object]) -> None:
        write_private(self.path / "status.json", json.dumps(status, indent=1))

    def variables(self) -> dict[str, str]:
        """The running system's variables; {} when there is nothing to read."""
        return self._read("env.json")

    def write_variables(self, variables: dict[str, str]) -> None:
        write_private(self.path / "env.json", json.dumps(variables, indent=1))

    def end_leftovers(self) -> int:
        """End what a killed runner left behind; only while no runner lives.

        Recorded processes are recognised by pid and start time, others by the marker
        in their environment. Returns how many there were.
        """
        recorded = self.status().get("processes", [])
        known = {row["pid"]: row for row in recorded if _is_alive(row)}
        for pid, row in known.items():
            is_database = row["name"] == "postgres"
            proc.signal_all([pid], signal.SIGINT if is_database else signal.SIGTERM)
        proc.wait_gone(known, STOP_TIMEOUT_S)
        for pid, row in known.items():
            if _is_alive(row):
                proc.kill_tree(pid)
        strangers = self._marked()
        proc.signal_all(strangers, signal.SIGKILL)
        proc.wait_gone([*known, *strangers], STOP_TIMEOUT_S)
        return len(known) + len(set(strangers) - set(known))

    def _marked(self) -> list[int]:
        pids: Iterable[int] = proc.with_variable(MARKER, str(self.path))
        return [pid for pid in pids if pid != os.getpid()]

    def _read(self, name: str) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return found
        return {}


def _is_alive(row: dict[str, Any]) -> bool:
    pid, started = row.get("pid"), row.get("started")
    return isinstance(pid, int) and proc.is_same(pid, started)
