"""Keeps a set of processes running, and stops them in the right order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

from embedded.child import Child, Report, Spec, State
from embedded.console import Console
from embedded.errors import DevError

POLL_S = 0.1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `kill` of a whole group, or a wrapper that forwards signals, delivers one wish twice.
SAME_WISH_S = 1.0


class StartError(DevError):
    """The system cannot start; the message is one line and says why."""


class Interrupted(Exception):
    """A signal asked us to stop while something was under way."""


class StopRequest:
    """Turns signals into a flag: SIGINT, SIGTERM and SIGHUP all ask for a stop.

    A plain flag and short sleeps rather than an Event: a handler that sets an Event
    while the same thread waits on it can deadlock.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last = 0.0

    def install(self) -> None:
        for number in SIGNALS:
            # Under nohup the terminal's end is nothing to us.
            ignored = signal.getsignal(number) == signal.SIG_IGN
            if not (number == signal.SIGHUP and ignored):
                signal.signal(number, self._note)

    def check(self) -> None:
        """Raise Interrupted when a stop was asked for."""
        if self.count:
            raise Interrupted

    @property
    def is_impatient(self) -> bool:
        """Whether somebody asked again: no more waiting for graceful ends."""
        return self.count > 1

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > SAME_WISH_S:
            self.count += 1
        self._last = now


class Runner:
    """A set of children. Belongs to the main thread (see `proc.dies_with_us`).

    Args:
        logs: directory of the log files.
        console: where lines go.
        stop: the flag signals set.
        on_change: called with the children's reports when a state changed.
    """

    def __init__(
        self,
        logs: Path,
        console: Console,
        stop: StopRequest,
        on_change: Callable[[list[Report]], None],
    ) -> None:
        self.children: list[Child] = []
        self._logs = logs
        self._console = console
        self._stop = stop
        self._on_change = on_change
        self._told: list[State] = []

    def start(self, spec: Spec) -> Child:
        """Add a child and start it.

        Raises:
            StartError: the command cannot be executed.
        """
        child = Child(spec, self._logs, self._console)
        self.children.append(child)
        try:
            child.start()
        except OSError as error:
            message = f"{spec.name} cannot be started: {error}"
            raise StartError(message) from error
        self._tell()
        return child

    def run_once(self, spec: Spec, timeout_s: float) -> None:
        """Run a command to its end, with its output among the others'.

        Raises:
            StartError: it failed or took too long.
            Interrupted: see the class.
        """
        child = self.start(spec)
        end = time.monotonic() + timeout_s
        try:
            while child.is_alive and time.monotonic() < end:
                self._stop.check()
                time.sleep(POLL_S / 2)
            in_time = not child.is_alive
        finally:
            child.finish()
            self.children.remove(child)
        if not in_time:
            message = f"{spec.name} did not end within {timeout_s:g} s ({child.why()})"
            raise StartError(message)
        if child.exit_code:
            message = f"{spec.name} failed ({child.why()})"
            raise StartError(message)

    def wait_until(self, what: str, is_done: Callable[[], bool], end: float) -> None:
        """Wait for a condition while every child has to stay alive.

        Args:
            what: for the message, as in "what did not answer in time".
            is_done: asked again and again.
            end: on the monotonic clock.

        Raises:
            StartError: a child ended, or the time is over.
            Interrupted: see the class.
        """
        while not is_done():
            self._stop.check()
            self._fail_on_exit()
            if time.monotonic() > end:
                message = f"{what} did not answer in time"
                raise StartError(message)
            time.sleep(POLL_S / 2)
        self._fail_on_exit()

    def watch(self) -> None:
        """Restart what crashes until a signal asks for the end."""
        refreshed = 0.0
        while not self._stop.count:
            for child in self.children:
                child.tick()
            self._tell()
            if time.monotonic() - refreshed > 5:  # noqa: PLR2004 - last lines get old
                refreshed = time.monotonic()
                self._on_change(self.reports())
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop all children: the highest tier first, each tier together."""
        for tier in sorted({child.spec.tier for child in self.children}, reverse=True):
            self._stop_tier([c for c in self.children if c.spec.tier == tier])

    def reports(self) -> list[Report]:
        return [child.report() for child in self.children]

    def _stop_tier(self, children: list[Child]) -> None:
        for child in children:
            child.ask_to_stop()
        started = time.monotonic()
        for child in children:
            while child.is_alive and not self._stop.is_impatient:
                if time.monotonic() - started > child.spec.grace_s:
                    self._console.say(f"dev.py: {child.spec.name} has to be killed")
                    break
                time.sleep(POLL_S / 5)
            child.finish()
        self._tell()

    def _fail_on_exit(self) -> None:
        for child in self.children:
            if child.is_running and not child.is_alive:
                child.collect()
                message = f"{child.spec.name} ended at once ({child.why()})"
                raise StartError(message)

    def _tell(self) -> None:
        states = [child.state for child in self.children]
        if states != self._told:
            self._told = states
            self._on_change(self.reports())


def width_for(names: Iterable[str]) -> int:
    return max((len(name) for name in names), default=0)
