"""One supervised process: start, output, crash and restart with back-off, stop."""

from __future__ import annotations

import collections
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from embedded import proc
from embedded.console import Console, Log
from embedded.server import Launch, reason_in, spawn

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 10.0
HEALTHY_AFTER_S = 30.0  # alive this long, a process has proved itself
LOUD_FAILURES = 8  # quick failures reported one by one, then once for all
LAST_WORDS_S = 5.0  # what was killed is gone, and its output read, in some ms
LINE_BYTES = 64 * 1024  # longer lines are cut into pieces
KEPT_LINES = 20
# Its last line has nothing to do with such an end.
KILLED_FROM_OUTSIDE = ("killed by SIGKILL", "killed by SIGTERM")


class State(StrEnum):
    """What a process is doing, as `dev.py status` shows it."""

    WAITING = "waiting"  # not started yet
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run and how to end it.

    Attributes:
        name: for its lines, its log and the status.
        launch: gives the command; asked at every start.
        tier: higher ones stop first, equal ones together.
        stop_signal: what asks it to end.
        death_signal: what the kernel sends it when the runner itself is killed.
        grace_s: from `stop_signal` to SIGKILL.
    """

    name: str
    launch: Callable[[], Launch]
    tier: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Report:
    """One row of the status. `since` and `started` are seconds and clock ticks."""

    name: str
    state: State
    pid: int | None
    started: int | None
    restarts: int
    since: float
    last_exit: str
    last_line: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Child:
    """Runs one `Spec`. All methods belong to the main thread."""

    def __init__(self, spec: Spec, logs: Path, console: Console) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.process: subprocess.Popen[bytes] | None = None
        self.last_exit = ""
        self._console = console
        self._log = Log(logs, spec.name)
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._pump: threading.Thread | None = None
        self._started: int | None = None
        self._since = time.time()
        self._restarts = 0
        self._failures = 0  # in a row, each within HEALTHY_AFTER_S of its start
        self._changed_at = 0.0  # monotonic: of the last start or exit
        self._muted = False

    def start(self) -> None:
        """Start the process.

        Raises:
            OSError: the command cannot be executed.
        """
        self._lines.clear()
        self.process = spawn(
            self.spec.launch(),
            stdout=subprocess.PIPE,
            death_signal=self.spec.death_signal,
        )
        self._started = proc.start_time(self.process.pid)
        self._pump = threading.Thread(
            target=self._copy_output, args=(self.process,), daemon=True
        )
        self._pump.start()
        self._enter(State.RUNNING)

    @property
    def age_s(self) -> float:
        """Seconds since the last start or exit."""
        return time.monotonic() - self._changed_at

    @property
    def is_alive(self) -> bool:
        return self.process is not None and not proc.has_ended(self.process)

    @property
    def is_running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def exit_code(self) -> int | None:
        """Once collected; None before."""
        return None if self.process is None else self.process.returncode

    def why(self) -> str:
        """How it ended and, where that can be the reason, what it said last."""
        if self.last_exit in KILLED_FROM_OUTSIDE:
            return self.last_exit
        return ": ".join(part for part in (self.last_exit, self._last_line()) if part)

    def tick(self) -> None:
        """Look once: notice a crash, restart when the back-off is over."""
        if self.state is State.RUNNING:
            if not self.is_alive:
                self.collect()
                self._plan_restart()
            elif self._failures and self.age_s > HEALTHY_AFTER_S:
                self._recovered()
        elif self.state is State.RESTARTING and self.age_s >= self._backoff_s():
            self._restart()

    def collect(self) -> None:
        """Tidy up after an exit: the rest of its group, its last words."""
        if self.process is None:
            return
        left = proc.kill_tree(self.process.pid)
        self.process.wait()
        proc.wait_gone(left, LAST_WORDS_S)
        if self._pump is not None:
            self._pump.join(LAST_WORDS_S)
        self.last_exit = describe_exit(self.process.returncode)

    def ask_to_stop(self) -> None:
        """Send the stop signal; `finish` does the rest."""
        if self.is_alive and self.process is not None:
            # SIGCONT, as a frozen one could not listen.
            proc.signal_all([self.process.pid], signal.SIGCONT)
            proc.signal_all([self.process.pid], self.spec.stop_signal)

    def finish(self) -> None:
        """Kill what is left of it, now."""
        if self.process is not None:
            self.collect()
        self._enter(State.STOPPED)
        self._log.close()

    def report(self) -> Report:
        alive = self.is_alive and self.process is not None
        return Report(
            name=self.spec.name,
            state=self.state,
            pid=self.process.pid if alive and self.process else None,
            started=self._started if alive else None,
            restarts=self._restarts,
            since=self._since,
            last_exit=self.last_exit,
            last_line=self._last_line(),
        )

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = time.time()
        self._changed_at = time.monotonic()

    def _backoff_s(self) -> float:
        return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (self._failures - 1))

    def _plan_restart(self) -> None:
        if self.age_s > HEALTHY_AFTER_S:
            self._failures = 0
        self._failures += 1
        self._enter(State.RESTARTING)
        if self._failures < LOUD_FAILURES:
            text = f"ended ({self.why()}); restart in {self._backoff_s():g} s"
            self._say(text)
        elif self._failures == LOUD_FAILURES:
            self._say(
                f"cannot start ({self.why()}); "
                f"quietly trying again every {LONGEST_BACKOFF_S:g} s"
            )
            self._muted = True

    def _restart(self) -> None:
        self._restarts += 1
        try:
            self.start()
        except Exception as error:  # noqa: BLE001 - anything is one more failure here
            self.last_exit = f"cannot be started: {error}"
            self._failures += 1
            self._enter(State.RESTARTING)

    def _recovered(self) -> None:
        self._failures = 0
        if self._muted:
            self._muted = False
            self._say("is running again")

    def _say(self, text: str) -> None:
        line = f"{self.spec.name} {text}"
        self._console.say(f"dev.py: {line}")
        self._log.write(f"dev.py: {line}\n".encode(errors="replace"))

    def _last_line(self) -> str:
        return reason_in(list(self._lines))

    def _copy_output(self, process: subprocess.Popen[bytes]) -> None:
        """Thread: copy lines to log and console until every writer is gone."""
        if process.stdout is None:
            return
        with process.stdout as stream, suppress(ValueError):
            for line in iter(lambda: stream.readline(LINE_BYTES), b""):
                whole = line if line.endswith(b"\n") else line + b"\n"
                self._lines.append(whole.decode(errors="replace"))
                self._log.write(whole)
                if not self._muted:
                    self._console.process_line(self.spec.name, whole)


def describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
