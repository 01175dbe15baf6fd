"""Starts the runner in the background and waits until it says how the start went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from embedded.errors import DevError

# The last line of a report; progress lines never begin with this byte.
READY = "\x01ready"
FAILED = "\x01failed "


def run_detached(root: Path, arguments: Sequence[str]) -> int:
    """Start `up` in a session of its own; returns when it is ready.

    Args:
        root: repository root.
        arguments: options of `up` for the background process.

    Returns:
        0 when the system is ready, 130 when somebody interrupted the start.

    Raises:
        DevError: it could not start; nothing is left running.
    """
    logs = root / ".run" / "logs"
    try:
        (root / ".run").mkdir(mode=0o700, exist_ok=True)
        logs.mkdir(mode=0o700, exist_ok=True)
        log = (logs / "up.log").open("ab")
    except OSError as error:
        message = f"cannot write to {logs}: {error.strerror}"
        raise DevError(message) from error
    ours, theirs = os.pipe()
    command = [sys.executable, str(root / "dev.py"), "up", *arguments]
    command += ["--report-to", str(theirs)]
    with log:
        process = subprocess.Popen(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[theirs],
        )
    os.close(theirs)
    interrupted = _pass_on_signals(process)
    with os.fdopen(ours, encoding="utf-8", errors="replace") as report:
        last = _relay(report)
    if last == READY:
        return 0
    process.wait()
    if interrupted:
        return 128 + interrupted[0]
    message = last.removeprefix(FAILED) or f"the start broke off, see {log.name}"
    raise DevError(message)


def report_failure(descriptor: int, reason: str) -> None:
    """In the background process: tell the waiting parent why there is no system."""
    with suppress(OSError):
        os.write(descriptor, f"{FAILED}{reason}\n".encode())


def _relay(report: TextIO) -> str:
    """Print progress as it comes; returns the final line, "" when there was none."""
    for line in report:
        if line.startswith((READY, FAILED)):
            return line.rstrip("\n")
        with suppress(OSError):
            print(line, end="", flush=True)
    return ""


def _pass_on_signals(process: subprocess.Popen[bytes]) -> list[int]:
    """Whoever interrupts us while we wait wants no system; returns what came."""
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return came
