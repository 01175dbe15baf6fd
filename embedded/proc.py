"""What Linux knows about processes: identity, descendants, death with the parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
STILL = ("T", "t", "Z", "X")  # proc(5): stopped, traced, zombie, dead
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: see dies_with_us()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone.

    Pid and start time together name one process for ever; a pid alone is reused.
    A zombie counts as gone.
    """
    fields = _stat(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def is_same(pid: int, started: int | None) -> bool:
    """Whether `pid` still is the process that started at `started`."""
    return started is not None and start_time(pid) == started


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, nearest first; without `pid` itself."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        fields = _stat(other)
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(other)
    found = [pid]
    for parent in found:  # grows while we walk
        found += children.get(parent, [])
    return found[1:]


def with_variable(name: str, value: str) -> list[int]:
    """Processes whose environment at exec held NAME=value (of those we may read)."""
    wanted = f"{name}={value}".encode()
    found = []
    for pid in _pids():
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def freeze(pids: Iterable[int], timeout_s: float = 10.0) -> None:
    """SIGSTOP processes and wait until none of their threads runs any more.

    The signal alone is a request: on a busy machine a process with several threads
    still answers for a moment after it (a broker did once, 2026-11-21).

    Raises:
        TimeoutError: some thread still ran after `timeout_s`.
    """
    pids = list(pids)
    signal_all(pids, signal.SIGSTOP)
    end = time.monotonic() + timeout_s
    while running := [pid for pid in pids if not _is_still(pid)]:
        if time.monotonic() > end:
            message = f"still running after SIGSTOP: {running}"
            raise TimeoutError(message)
        time.sleep(0.002)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether our child ended, without reaping it.

    Until it is reaped nobody else can get its pid, so its group can still be killed
    without hitting a stranger.
    """
    if process.returncode is not None:
        return True
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def wait_ended(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait until our child ended or the time is over, without reaping it."""
    end = time.monotonic() + timeout_s
    while not has_ended(process) and time.monotonic() < end:
        time.sleep(0.01)


def kill_tree(pid: int) -> list[int]:
    """SIGKILL a process, its group and its descendants; returns the others' pids.

    A group is not enough, since each PostgreSQL backend, for example, is one of its
    own; descendants are not enough, since a dead parent's children are nobody's. `pid`
    must be our own child that is not reaped yet, or known by its start time; the caller
    reaps it.
    """
    others = {*descendants(pid), *_group(pid)} - {pid}
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    signal_all([pid, *others], signal.SIGKILL)
    return list(others)


def wait_gone(pids: Iterable[int], timeout_s: float) -> list[int]:
    """Wait until all are gone (zombies count as gone); returns those that are not."""
    end = time.monotonic() + timeout_s
    left = [pid for pid in pids if start_time(pid) is not None]
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = [pid for pid in left if start_time(pid) is not None]
    return left


def dies_with_us(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send `number` when this process dies.

    The kernel watches the spawning *thread*, so other threads than the main one get
    None: their children would die with the thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    parent = os.getpid()

    def set_death_signal() -> None:
        # Between fork and exec: one call into an already loaded libc, no locks.
        _LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # died before the call above
            os._exit(1)

    return set_death_signal


def _is_still(pid: int) -> bool:
    """Whether all threads of a process are stopped or ended."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it is gone
        return True
    states = [fields[0] for task in tasks if (fields := _stat_in(task))]
    return all(state in STILL for state in states)


def _group(leader: int) -> list[int]:
    found = []
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None and int(fields[2]) == leader:
            found.append(pid)
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names only, hot


def _stat(pid: int) -> list[str] | None:
    return _stat_in(Path(f"/proc/{pid}"))


def _stat_in(task: Path) -> list[str] | None:
    """Fields of its `stat` after the command's name, which may hold anything."""
    try:
        text = (task / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
