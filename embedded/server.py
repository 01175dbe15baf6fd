"""What the embedded servers have in common: start, stop, kill, freeze, restart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from embedded import ports, proc
from embedded.errors import DevError

POLL_S = 0.02
STOP_TIMEOUT_S = 10.0
# A port is left by its old owner, and PostgreSQL's old shared memory by its backends, a
# moment after they die: a start that fails at once is tried again until its time is up.
RETRY_AFTER_S = 0.3
LONGEST_REASON = 300  # characters: one line on a screen, or three
# What servers say at every start, or after the line that matters.
BESIDE_THE_POINT = re.compile(r" LOG:  | STATEMENT:  | HINT:  | # WARNING |: Warning: ")


class ServerError(DevError):
    """An embedded server cannot do what was asked; the message is one line."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a process as the operating system wants it.

    Attributes:
        argv: the command, no shell.
        environ: the whole environment.
        cwd: working directory; one that the target user may enter.
        user, group: numeric ids to become (only root can), None to stay.
    """

    argv: list[str]
    environ: Mapping[str, str]
    cwd: Path = Path("/")
    user: int | None = None
    group: int | None = None


@dataclass
class Server(ABC):
    """One server process with its data below `state_dir`.

    Listens on 127.0.0.1 only, on the same port for its whole life. Usable by itself
    (tests) or through the runner, which takes `prepare()`, `launch()` and `is_ready()`
    and owns the process.
    """

    state_dir: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(
        default=None, init=False, repr=False
    )

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @abstractmethod
    def prepare(self) -> None:
        """Write configuration and data directory; safe to repeat.

        Raises:
            ServerError: this machine cannot run it.
        """

    @abstractmethod
    def launch(self) -> Launch: ...

    @abstractmethod
    def is_ready(self) -> bool:
        """Ask the server itself, once, within about a second.

        Raises:
            ServerError: it answers but will never accept us (a wrong password).
        """

    def after_start(self) -> None:  # noqa: B027 - most servers need nothing here
        """What has to exist in a server that has just become ready."""

    @property
    def log(self) -> Path:
        """Output when started by `start()`; the runner keeps its own logs."""
        return self.state_dir / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        """Whether the process exists (a frozen one does)."""
        return self.process is not None and not proc.has_ended(self.process)

    def start(self, timeout_s: float = 20) -> None:
        """Start and return when the server answers; nothing to do when it runs.

        Raises:
            ServerError: it exited or did not answer in time; nothing is left running.
        """
        if self.is_running:
            return
        end = time.monotonic() + timeout_s
        self.kill()  # reaps one that ended by itself
        self.prepare()
        self._spawn()
        try:
            self._wait_ready(end)
            self.after_start()
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the server to end, and make it end after `timeout_s`."""
        if self.process is None:
            return
        self.thaw()
        proc.signal_all([self.process.pid], self.stop_signal)
        proc.wait_ended(self.process, timeout_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL the server and everything it started, as a crash would."""
        if self.process is None:
            return
        left = proc.kill_tree(self.process.pid)
        self.process.wait()
        self.process = None
        proc.wait_gone(left, STOP_TIMEOUT_S)

    def freeze(self) -> None:
        """SIGSTOP all its processes: connections stay open, nothing answers."""
        proc.freeze(self._all_pids())

    def thaw(self) -> None:
        proc.signal_all(self._all_pids(), signal.SIGCONT)

    def restart(self, timeout_s: float = 20) -> None:
        """Stop gracefully and start on the same port with the same data."""
        self.stop()
        self.start(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _all_pids(self) -> list[int]:
        if self.process is None or not self.is_running:
            return []
        return [self.process.pid, *proc.descendants(self.process.pid)]

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self.process = spawn(
                self.launch(), stdout=log.fileno(), death_signal=self.stop_signal
            )

    def _wait_ready(self, end: float) -> None:
        while not self._is_up():
            if time.monotonic() > end:
                message = f"{self.name} did not get ready: {last_line(self.log)}"
                raise ServerError(message)
            time.sleep(POLL_S)

    def _is_up(self) -> bool:
        """One look; starts the process again when it has exited."""
        if not self.is_running:
            self.kill()
            time.sleep(RETRY_AFTER_S)
            self._spawn()
            return False
        return self.is_ready()


def spawn(
    launch: Launch, *, stdout: int, death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, so that a terminal's Ctrl-C misses it.

    Args:
        launch: what to start.
        stdout: descriptor for its output and errors, or `subprocess.PIPE`.
        death_signal: what the kernel sends it when we die first.
    """
    return subprocess.Popen(
        launch.argv,
        env=dict(launch.environ),
        cwd=launch.cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=proc.dies_with_us(death_signal),
        user=launch.user,
        group=launch.group,
        extra_groups=None if launch.user is None else [],
    )


def server_environ() -> dict[str, str]:
    """The little a server needs: nobody's PGDATA, MALLOC_… or Python variables."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/",
    }


def choose_port(port: int | None) -> int:
    return ports.free_port() if port is None else port


def last_line(log: Path) -> str:
    """The last line of a log that says why, or "no output"."""
    try:
        text = log.read_bytes()[-8192:].decode(errors="replace")
    except OSError:
        text = ""
    return reason_in(text.splitlines()) or "no output"


def reason_in(lines: list[str]) -> str:
    """The last line that may say why something ended, shortened; "" when none does."""
    telling = [x for x in lines if x.strip() and not BESIDE_THE_POINT.search(x)]
    # An indented line only continues one: of a traceback, of psycopg's "failed: …".
    whole = [line for line in telling if not line[0].isspace()] or telling
    return whole[-1].strip()[:LONGEST_REASON] if whole else ""


def make_dir(path: Path, mode: int = 0o700) -> Path:
    """Create a directory (and its parents); an existing one keeps its mode.

    Raises:
        ServerError: it cannot be created.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)  # whatever the umask is
    except OSError as error:
        message = f"cannot make the directory {path}: {error.strerror}"
        raise ServerError(message) from error
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file with one only its owner may read; never half-written."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
