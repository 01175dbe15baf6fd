from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedded import child as child_module
from embedded import proc
from embedded.child import State
from embedded.console import Console
from embedded.runner import Interrupted, StartError
from embedded.server import Launch, server_environ
from embedded.tests.conftest import Stage, wait_for

FOREVER = "import time\nprint('here', flush=True)\ntime.sleep(1000)\n"
BROKEN = "import sys\nprint('one')\nsys.exit('NAME=7 is not a number')\n"
WITH_CHILD = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid)
time.sleep(1000)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf")
time.sleep(1000)
"""


def test_a_crashed_process_is_restarted(stage: Stage):
    child = stage.runner.start(stage.spec("web", FOREVER))
    first = child.report().pid
    assert first is not None

    os.kill(first, signal.SIGKILL)
    stage.tick_until(lambda: child.report().restarts == 1 and child.is_alive)

    assert child.report().pid != first
    assert child.report().last_exit == "killed by SIGKILL"
    assert stage.said == ["dev.py: web ended (killed by SIGKILL); restart in 0.5 s"]


def test_a_process_that_cannot_start_says_why_in_one_line_and_is_tried_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(child_module, "FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(child_module, "LONGEST_BACKOFF_S", 0.002)
    child = stage.runner.start(stage.spec("web", BROKEN))

    stage.tick_until(lambda: child.report().restarts > child_module.LOUD_FAILURES + 2)

    summaries = [line for line in stage.said if "cannot start" in line]
    assert summaries == [
        "dev.py: web cannot start (exit code 1: NAME=7 is not a number); "
        "quietly trying again every 0.002 s"
    ]
    assert len(stage.said) == child_module.LOUD_FAILURES


def test_the_back_off_doubles_up_to_ten_seconds(stage: Stage):
    child = stage.runner.start(stage.spec("web", FOREVER))
    waits = []
    for failures in range(1, 9):
        child._failures = failures
        waits.append(child._backoff_s())

    assert waits == [0.5, 1, 2, 4, 8, 10, 10, 10]


def test_a_process_that_lived_long_starts_over_with_the_shortest_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(child_module, "HEALTHY_AFTER_S", 0.3)
    child = stage.runner.start(stage.spec("web", FOREVER))
    child._failures = 5

    stage.tick_until(lambda: child._failures == 0)

    assert child.state is State.RUNNING


def test_the_start_fails_with_the_last_line_of_what_ended(stage: Stage):
    stage.runner.start(stage.spec("web", BROKEN))

    with pytest.raises(StartError) as caught:
        stage.runner.wait_until("web", lambda: False, time.monotonic() + 30)

    assert str(caught.value) == (
        "web ended at once (exit code 1: NAME=7 is not a number)"
    )


def test_the_start_fails_when_nothing_answers_in_time(stage: Stage):
    stage.runner.start(stage.spec("web", FOREVER))

    with pytest.raises(StartError, match="the page did not answer in time"):
        stage.runner.wait_until("the page", lambda: False, time.monotonic())


def test_a_signal_breaks_off_the_start(stage: Stage):
    stage.runner.start(stage.spec("web", FOREVER))
    stage.stop_request.count = 1

    with pytest.raises(Interrupted):
        stage.runner.wait_until("web", lambda: False, time.monotonic() + 30)


def test_a_command_that_does_not_exist_fails_the_start(stage: Stage):
    spec = stage.spec("web", "")
    launch = Launch(["/no/such/program"], server_environ())

    with pytest.raises(StartError, match="web cannot be started"):
        stage.runner.start(child_module.Spec(spec.name, lambda: launch))


def test_a_one_off_command_that_fails_says_why(stage: Stage):
    with pytest.raises(StartError, match=r"prepare failed \(exit code 1: NAME=7"):
        stage.runner.run_once(stage.spec("prepare", BROKEN), 60)

    assert stage.log("prepare") == "one\nNAME=7 is not a number\n"
    assert stage.runner.children == []


def test_stop_leaves_neither_child_nor_grandchild(stage: Stage, gone):
    child = stage.runner.start(stage.spec("web", WITH_CHILD))
    wait_for(lambda: stage.log("web"))
    pids = [child.report().pid, int(stage.log("web"))]

    stage.runner.stop()

    wait_for(lambda: all(gone(pid) for pid in pids))
    assert child.state is State.STOPPED


def test_a_crash_takes_the_grandchildren_along(stage: Stage, gone):
    child = stage.runner.start(stage.spec("web", WITH_CHILD))
    wait_for(lambda: stage.log("web"))
    grandchild = int(stage.log("web"))

    proc.signal_all([child.report().pid or 0], signal.SIGKILL)
    stage.tick_until(lambda: child.report().restarts == 1)

    assert gone(grandchild)


def test_one_that_does_not_listen_is_killed_after_its_grace(stage: Stage, gone):
    child = stage.runner.start(stage.spec("web", STUBBORN, grace_s=0.2))
    wait_for(lambda: stage.log("web"))
    pid = child.report().pid

    stage.runner.stop()

    assert gone(pid)
    assert "dev.py: web has to be killed" in stage.said


def test_a_frozen_process_can_be_stopped(stage: Stage, gone):
    child = stage.runner.start(stage.spec("web", FOREVER))
    pid = child.report().pid
    proc.freeze([pid or 0])

    stage.runner.stop()

    assert gone(pid)
    assert child.last_exit == "killed by SIGTERM"


def test_higher_tiers_stop_first(stage: Stage):
    order = stage.directory / "order"
    program = f"""
import pathlib, signal, sys, time
def bye(*_):
    with pathlib.Path({str(order)!r}).open("a") as file:
        file.write(sys.argv[0].rsplit("/", 1)[-1] + " ")
    sys.exit()
signal.signal(signal.SIGTERM, bye)
print("ready")
time.sleep(1000)
"""
    for name, tier in (("server", 1), ("worker", 2), ("edge", 3)):
        stage.runner.start(stage.spec(name, program, tier=tier))
    wait_for(lambda: all(stage.log(name) for name in ("server", "worker", "edge")))

    stage.runner.stop()

    assert order.read_text() == "edge.py worker.py server.py "


def test_children_die_when_the_runner_is_killed(tmp_path: Path, gone):
    program = f"""
import subprocess, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from embedded import server
import signal
argv = [sys.executable, "-c", "import time; time.sleep(1000)"]
launch = server.Launch(argv, server.server_environ())
print(server.spawn(launch, stdout=2, death_signal=signal.SIGKILL).pid, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline())
        assert not gone(pid)
        runner.kill()

    wait_for(lambda: gone(pid))


def test_a_reader_that_stops_reading_does_not_block():
    reader, writer = os.pipe()
    console = Console(writer)
    began = time.monotonic()

    for _ in range(20_000):
        console.process_line("web", b"x" * 100 + b"\n")

    assert time.monotonic() - began < 30
    assert b"web      | xxx" in os.read(reader, 65_536)
    os.close(reader)
    console.close()
    os.close(writer)
