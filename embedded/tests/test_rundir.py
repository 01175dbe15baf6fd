from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded import proc
from embedded.rundir import MARKER, AlreadyRunningError, RunDir
from embedded.tests.conftest import wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDir]:
    run = RunDir(tmp_path / ".run")
    run.path.mkdir()
    yield run
    run.release()


@pytest.fixture
def sleeper() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(**options) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(SLEEP, process_group=0, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def row(process: subprocess.Popen[bytes], started: int | None) -> dict[str, object]:
    return {"name": "web", "pid": process.pid, "started": started}


def test_a_second_runner_is_told_who_is_first(run: RunDir):
    run.claim()
    run.write_status({"url": "http://here/"})

    with pytest.raises(AlreadyRunningError) as caught:
        RunDir(run.path).claim()

    expected = f"already running at http://here/ (pid {os.getpid()})"
    assert str(caught.value) == expected


def test_it_can_be_claimed_again_after_release(run: RunDir):
    run.claim()
    run.release()

    assert run.runner_pid() is None
    run.claim()
    assert run.runner_pid() == os.getpid()


def test_a_dead_runner_is_no_runner(run: RunDir):
    (run.path / "lock").write_text(f"{os.getpid()} 12345")

    assert run.runner_pid() is None


def test_leftovers_are_ended(run: RunDir, sleeper):
    process = sleeper()
    run.write_status({"processes": [row(process, proc.start_time(process.pid))]})

    assert run.end_leftovers() == 1

    assert process.wait(30) < 0


def test_a_stranger_with_an_old_pid_is_left_alone(run: RunDir, sleeper):
    process = sleeper()
    run.write_status({"processes": [row(process, 12345)]})

    assert run.end_leftovers() == 0

    assert process.poll() is None


def test_a_lost_grandchild_is_known_by_its_marker(run: RunDir, sleeper):
    ours = sleeper(env={**os.environ, MARKER: str(run.path)})
    other = sleeper(env={**os.environ, MARKER: str(run.path) + "-other"})

    for process in (ours, other):  # it can be read a moment after the exec
        wait_for(Path(f"/proc/{process.pid}/environ").read_bytes)
    assert run.end_leftovers() == 1

    assert ours.wait(30) < 0
    assert other.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_status_is_an_empty_one(run: RunDir, text: str):
    (run.path / "status.json").write_text(text)

    assert run.status() == {}
    assert run.end_leftovers() == 0
