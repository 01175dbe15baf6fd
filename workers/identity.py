"""Who this process is, and whether another process of this machine is gone.

A lease outlives its owner by up to 15 s. On one machine nobody has to wait for that:
the kernel knows at once whether the owner lives. Machine means boot and PID namespace,
so that containers never judge each other; elsewhere than on Linux nothing is said.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

_PARTS = 4
_START_TIME_FIELD = 19  # after the name: field 22 of proc(5) /proc/pid/stat


def owner_name(node: str) -> str:
    """Return a name unique to this process: node/machine/process/random."""
    return "/".join((node, _machine(), _process(os.getpid()), uuid4().hex[:8]))


def is_gone(owner: str) -> bool:
    """Return True only if the owner was a process of this machine that has ended."""
    parts = owner.rsplit("/", _PARTS - 1)
    if len(parts) != _PARTS or not parts[1] or parts[1] != _machine():
        return False
    pid = parts[2].partition(".")[0]
    return pid.isdecimal() and parts[2] != _process(int(pid))


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""
    return f"{boot}.{namespace.strip('pid:[]')}"


def _process(pid: int) -> str:
    """Return the id with its start time, since ids are used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return f"{pid}."
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return f"{pid}."  # a zombie owns nothing
    return f"{pid}.{fields[_START_TIME_FIELD]}"
