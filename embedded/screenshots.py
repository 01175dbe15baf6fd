"""`dev.py screenshots`: a demo of its own, pictures of its pages, and nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from embedded.chromium import HOW_TO_GET, chromium_path
from embedded.console import Console, Log
from embedded.environment import without_settings
from embedded.errors import DevError
from embedded.ports import free_ports
from embedded.rundir import RunDir
from embedded.runner import Interrupted, StopRequest
from embedded.system import System

STDOUT = 1
INTERRUPTED = 128 + signal.SIGINT
PORTS = ("PORT", "MQTT_PORT", "MQTT_V5_PORT", "FLOWER_PORT")
HISTORY_TIMEOUT_S = 120.0


class PictureError(DevError):
    """The pictures cannot be taken; the message is one line and says why."""


def make_screenshots(root: Path, folder: Path) -> int:
    """Start the demo in a temporary state, take its pictures; returns the exit code.

    Args:
        root: repository root.
        folder: where the pictures go; made when it is not there.

    Raises:
        DevError: no chromium, a folder that cannot be written, a start that failed.
    """
    chromium = chromium_path()
    if chromium is None:
        raise PictureError(HOW_TO_GET)
    _make(folder)
    stop = StopRequest()
    stop.install()
    try:
        with ExitStack() as stack:
            system, console = _start(root, stop, stack)
            count = _take(system, chromium, folder, stop, console)
            console.say(f"dev.py: {count} pictures in {folder}")
    except Interrupted:
        return INTERRUPTED
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror}"
        raise PictureError(message) from error
    if not os.access(folder, os.W_OK):
        message = f"cannot write to {folder}"
        raise PictureError(message)


def _start(root: Path, stop: StopRequest, stack: ExitStack) -> tuple[System, Console]:
    state = Path(tempfile.mkdtemp(prefix="guardiano-pictures-"))
    stack.callback(shutil.rmtree, state, ignore_errors=True)
    run = RunDir(state)
    run.claim()
    stack.callback(run.release)
    console = Console(STDOUT, with_processes=False, log=Log(run.logs, "system"))
    stack.callback(console.close)
    system = System(root, run, console, stop, environ=_environ(root), demo=True)
    stack.callback(system.remove_data)
    stack.callback(system.finish)
    stack.callback(console.say, "dev.py: stopping")
    system.start()
    console.say("dev.py: inventing a week of readings")
    system.manage(
        "generate_history --site site_001 --dataloggers 1 --sensors 5 --days 8",
        HISTORY_TIMEOUT_S,
    )
    return system, console


def _environ(root: Path) -> Mapping[str, str]:
    """The user's environment without its settings; ports that nobody has."""
    chosen = zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)
    clean = without_settings(root, os.environ)
    return {**clean, **dict(chosen), "ALERT_AFTER_S": "5"}  # nobody waits two minutes


def _take(
    system: System, chromium: str, folder: Path, stop: StopRequest, console: Console
) -> int:
    # Here: it takes half a second, which the other commands need not wait.
    from playwright.sync_api import Error

    from embedded import pictures, scenery

    def say(text: str) -> None:
        stop.check()
        console.say(f"dev.py: {text}")

    url, login = system.wishes.url, system.login
    try:
        subjects = scenery.prepare(url, login, say)
        return pictures.take(
            url,
            login,
            pictures.shots_of(subjects),
            chromium=chromium,
            folder=folder,
            say=say,
        )
    except pictures.NotTakenError:
        stop.check()  # Ctrl-C in a terminal ends the browser as well
        raise
    except Error as error:
        stop.check()
        message = f"chromium: {error.message.strip().splitlines()[0]}"
        raise PictureError(message) from error
