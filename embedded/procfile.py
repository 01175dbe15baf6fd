"""Reads the Procfile: which processes make up the system."""

from __future__ import annotations

import re
from pathlib import Path

from embedded.errors import DevError

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
# Names of processes and logs that dev.py adds itself.
RESERVED = frozenset({"postgres", "valkey", "broker", "prepare", "fleet", "system"})


class ProcfileError(DevError):
    """The Procfile is missing or has a bad line; the message is one line."""


def read_procfile(path: Path) -> dict[str, str]:
    """Name to shell command, in the file's order.

    Raises:
        ProcfileError: see the class.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read {path}: {error}"
        raise ProcfileError(message) from error
    return parse(text)


def parse(text: str) -> dict[str, str]:
    """Parse `name: command` lines; blank lines and lines that begin with # are skipped.

    Raises:
        ProcfileError: a line of another form, a name twice, a reserved name, no line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = LINE.fullmatch(stripped)
        if match is None:
            message = f"Procfile line {number} is not 'name: command': {stripped!r}"
            raise ProcfileError(message)
        name, command = match.groups()
        if name in found or name in RESERVED:
            why = "is there twice" if name in found else "is a reserved name"
            message = f"Procfile line {number}: {name!r} {why}"
            raise ProcfileError(message)
        found[name] = command
    if not found:
        message = "the Procfile names no process"
        raise ProcfileError(message)
    return found
