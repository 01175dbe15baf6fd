"""`status`, `env`, `manage` and `down`: everything that looks at a running system."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from embedded import proc
from embedded.child import State
from embedded.environment import process_environ
from embedded.errors import DevError
from embedded.rundir import RunDir

FINE, TROUBLE, NOT_RUNNING = 0, 1, 3
DOWN_TIMEOUT_S = 30.0
LINE_WIDTH = 60


class NotRunningError(DevError):
    def __init__(self) -> None:
        super().__init__("not running; start it with: python3 dev.py up")


def show_status(root: Path, *, as_json: bool) -> int:
    """Print the processes; returns 0 all run, 1 some do not, 3 nothing runs."""
    run = RunDir(root / ".run")
    is_running = run.runner_pid() is not None
    status = run.status() if is_running else {}
    if as_json:
        print(json.dumps({"running": is_running, **status}, indent=2))
    elif is_running:
        print(_table(status))
    else:
        print("not running")
    if not is_running:
        return NOT_RUNNING
    states = {row["state"] for row in status.get("processes", [])}
    fine = status.get("state") == "running" and states == {State.RUNNING}
    return FINE if fine else TROUBLE


def print_variables(root: Path) -> int:
    """Print the running system's variables as shell assignments.

    Raises:
        NotRunningError: see the class.
    """
    for name, value in sorted(_running_variables(root).items()):
        print(f"{name}={shlex.quote(value)}")
    return 0


def manage(root: Path, arguments: list[str]) -> int:
    """Become `manage.py` with the running system's variables.

    Raises:
        NotRunningError: see the class.
    """
    environ = process_environ(root, os.environ, _running_variables(root))
    argv = [sys.executable, str(root / "manage.py"), *arguments]
    os.execve(sys.executable, argv, environ)  # noqa: S606 - no shell wanted


def stop_system(root: Path) -> int:
    """Stop the runner and wait until all is gone; returns the exit code.

    Raises:
        DevError: it belongs to another user.
    """
    run = RunDir(root / ".run")
    pid = run.runner_pid()
    if pid is None:
        ended = run.end_leftovers()
        left = f"; ended {ended} process(es) that a killed run had left"
        print("not running" + (left if ended else ""))
        return 0
    started = proc.start_time(pid)
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        message = f"the running system (pid {pid}) belongs to another user"
        raise DevError(message) from error
    end = time.monotonic() + DOWN_TIMEOUT_S
    while proc.is_same(pid, started):
        if time.monotonic() > end:
            print(f"did not stop within {DOWN_TIMEOUT_S:g} s, killing it", flush=True)
            proc.signal_all([pid], signal.SIGKILL)
            proc.wait_gone([pid], 5)
            break
        time.sleep(0.1)
    run.end_leftovers()
    print("stopped")
    return 0


def _running_variables(root: Path) -> dict[str, str]:
    run = RunDir(root / ".run")
    variables = run.variables() if run.runner_pid() is not None else {}
    if not variables:
        raise NotRunningError
    return variables


def _table(status: dict[str, Any]) -> str:
    now = time.time()
    head = f"{status.get('state')} at {status.get('url')} (pid {status.get('pid')})"
    lines = [head, f"broker {status.get('broker')}", f"logs {status.get('logs')}", ""]
    row = "{:<10} {:<11} {:>8} {:>8} {:>8}  {}"
    lines.append(row.format("process", "state", "pid", "restarts", "since", "last"))
    for one in status.get("processes", []):
        ago = f"{max(0, now - one['since']):.0f} s"
        said = one["last_line"]
        if one["last_exit"] and one["state"] != State.RUNNING:
            said = f"{one['last_exit']}: {said}"
        lines.append(
            row.format(
                one["name"],
                one["state"],
                one["pid"] or "-",
                one["restarts"],
                ago,
                said[:LINE_WIDTH],
            ).rstrip()
        )
    return "\n".join(lines)
