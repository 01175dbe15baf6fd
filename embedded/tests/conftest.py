"""Fixtures for the servers and the runner; nothing here needs Django."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded import proc
from embedded.child import Spec
from embedded.console import Console
from embedded.runner import Runner, StopRequest
from embedded.server import Launch, server_environ

WAIT_S = 30.0  # for things that take well under 3 s


def wait_for(what: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


class Notes(Console):
    """A console that keeps what dev.py says."""

    def __init__(self) -> None:
        super().__init__(None)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Stage:
    """A runner and what it said, for children that are small Python programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stop_request = StopRequest()
        notes = Notes()
        self.said = notes.said
        self.runner = Runner(
            directory / "logs", notes, self.stop_request, lambda reports: None
        )

    def spec(self, name: str, program: str, **options) -> Spec:
        file = self.directory / f"{name}.py"
        file.write_text(program)
        launch = Launch([sys.executable, "-u", str(file)], server_environ())
        return Spec(name, lambda: launch, **options)

    def tick_until(self, what: Callable[[], object]) -> None:
        def look() -> object:
            for child in self.runner.children:
                child.tick()
            return what()

        wait_for(look)

    def log(self, name: str) -> str:
        return (self.directory / "logs" / f"{name}.log").read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.runner.stop()


@pytest.fixture
def gone() -> Callable[[int], bool]:
    return lambda pid: proc.start_time(pid) is None
