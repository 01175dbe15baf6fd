"""Builds `.venv` from the hashed lock; standard library only, runs outside the venv."""

from __future__ import annotations

import collections
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedded.errors import DevError

# These three exist as source archives only (pure Python, built in seconds); see
# django-eventstream in requirements/base.in. Everything else must be a wheel.
SOURCE_ONLY = "django-grip,gripcontrol,pubcontrol"
PROGRESS_EVERY_S = 3.0
TAIL_LINES = 15


class BootstrapError(DevError):
    """The virtual environment cannot be built; the message is one line for people."""


def ensure_venv(root: Path) -> Path:
    """Build or update `root/.venv` when it does not match `requirements/dev.txt`.

    Does nothing (and needs no network) when the stamp matches. Concurrent callers wait
    for each other on a lock file. A build that was interrupted leaves no stamp and is
    done again from nothing; a finished one whose lock changed is updated in place, so
    that processes running from it keep their files.

    Args:
        root: repository root; may contain spaces.

    Returns:
        Path of the venv's Python.

    Raises:
        BootstrapError: Python lacks venv or ensurepip, or pip failed.
    """
    venv = root / ".venv"
    python = venv / "bin" / "python"
    lock = root / "requirements" / "dev.txt"
    if _is_current(venv, lock):
        return python
    with _locked(root):
        if not _is_current(venv, lock):  # somebody else may have built it meanwhile
            _build(venv, lock)
    return python


def _wanted_stamp(venv: Path, lock: Path) -> str:
    """Hash of the lock and of the venv's path, which its scripts' first lines hold."""
    try:
        text = lock.read_bytes()
    except OSError as error:
        message = f"cannot read the lock {lock}: {error.strerror}"
        raise BootstrapError(message) from error
    return hashlib.sha256(text + b"\0" + os.fsencode(venv)).hexdigest()


def _is_current(venv: Path, lock: Path) -> bool:
    wanted = _wanted_stamp(venv, lock)
    try:
        found = (venv / ".lock-sha256").read_text()
    except OSError:
        return False
    # A stamp beside a broken symlink: the Python it was made from is gone.
    return found == wanted and os.access(venv / "bin" / "python", os.X_OK)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    state = root / ".run"
    try:
        state.mkdir(mode=0o700, exist_ok=True)
        lock = (state / "bootstrap.lock").open("w")
    except OSError as error:
        message = f"cannot write to {state}: {error.strerror}"
        raise BootstrapError(message) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say("another dev.py is building .venv; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(venv: Path, lock: Path) -> None:
    started = time.monotonic()
    stamp = venv / ".lock-sha256"
    wanted = _wanted_stamp(venv, lock)
    reusable = stamp.exists() and os.access(venv / "bin" / "python", os.X_OK)
    if not (reusable and _belongs_here(venv)):
        _create(venv)
    stamp.unlink(missing_ok=True)
    _install(venv / "bin" / "python", lock)
    half = stamp.with_suffix(".part")
    half.write_text(wanted)
    half.replace(stamp)
    _say(f".venv is ready ({time.monotonic() - started:.0f} s)")


def _belongs_here(venv: Path) -> bool:
    """Whether the venv was made here: a copied or moved one has foreign scripts."""
    with suppress(OSError):
        first = (venv / "bin" / "activate").read_text(errors="replace")
        return str(venv) in first
    return False


def _create(venv: Path) -> None:
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            message = (
                f"this Python ({sys.executable}) has no {module} module; "
                "install it (Debian, Ubuntu: apt install python3-venv)"
            )
            raise BootstrapError(message)
    _say("creating .venv")
    if venv.is_symlink():
        venv.unlink()
    shutil.rmtree(venv, ignore_errors=True)
    # The base interpreter, so that a venv is never made from a venv (or from itself).
    base = getattr(sys, "_base_executable", None) or sys.executable
    done = subprocess.run(
        [base, "-I", "-m", "venv", str(venv)],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no output"]
        message = f"cannot create .venv: {lines[-1].strip()}"
        raise BootstrapError(message)


def _install(python: Path, lock: Path) -> None:
    total = len(re.findall(r"^[A-Za-z0-9].*==", lock.read_text(), re.MULTILINE))
    _say(f"installing {total} packages from requirements/{lock.name}")
    command = [str(python), "-I", "-m", "pip", "install"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--require-hashes", "--only-binary", ":all:"]
    command += ["--no-binary", SOURCE_ONLY, "-r", str(lock)]
    # PIP_USER or PIP_TARGET in somebody's shell would install elsewhere.
    unwanted = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
    environ = {k: v for k, v in os.environ.items() if k not in unwanted}
    tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        command,
        env=environ,
        cwd=lock.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None  # noqa: S101 - narrows the type, PIPE was asked for
        _follow(pip.stdout, total, tail)
    if pip.returncode:
        for line in tail:
            _say("  " + line.rstrip())
        message = (
            "pip could not install requirements/dev.txt (its last lines are above)"
        )
        raise BootstrapError(message)


def _follow(lines: Iterator[str], total: int, tail: collections.deque[str]) -> None:
    """Print how far pip is, at most every few seconds, and keep its last lines."""
    seen = 0
    said = time.monotonic()
    unpacking = False
    for line in lines:
        tail.append(line)
        if line.startswith("Collecting "):
            seen += 1
        if line.startswith("Installing collected packages"):
            unpacking = True
            _say("  all fetched, unpacking them")
        elif not unpacking and time.monotonic() - said > PROGRESS_EVERY_S:
            said = time.monotonic()
            _say(f"  {min(seen, total)} of {total} fetched")


def _say(text: str) -> None:
    with suppress(OSError):  # the reader of our pipe may have gone
        print(text, flush=True)
