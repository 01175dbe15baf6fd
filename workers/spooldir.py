"""Where spools lie, and who may open which: `<folder>/<instance>/<node>/<n>.sqlite3`.

A lock (flock) beside each file is held as long as its worker lives, so a file that can
be locked is nobody's: its worker ended, and whoever finds it drains it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Container, Iterator
from pathlib import Path

SUFFIX = ".sqlite3"
MOST = 64  # files of a node; a worker has two


class Claim:
    """The right to one file; held until `release`, or until the process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)

    def remove(self) -> None:
        """Delete the file with all that belongs to it, and release it."""
        for path in (
            self.path,
            *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm")),
            _lock_of(self.path),
        ):
            path.unlink(missing_ok=True)
        self.release()


def folder_of(base: Path, instance: str, node: str) -> Path:
    return base / _name(instance) / _name(node)


def claim_own(folder: Path) -> Claim:
    """Return a file of this node that is nobody's, one with messages if there is any.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(MOST):
        claim = _claim(folder / f"{number}{SUFFIX}")
        if claim is not None:
            return claim
    message = f"all {MOST} spools in {folder} are in use"
    raise OSError(message)


def claim_left(base: Path, instance: str, but: Container[Path]) -> Iterator[Claim]:
    """Yield the files of this installation that are nobody's, of any node.

    Args:
        base: the folder of all spools.
        instance: of the installation.
        but: paths to leave alone.

    Raises:
        OSError: the folder cannot be read or written.
    """
    for path in sorted((base / _name(instance)).glob(f"*/*{SUFFIX}")):
        claim = None if path in but else _claim(path)
        if claim is not None:
            yield claim


def _claim(path: Path) -> Claim | None:
    lock = _lock_of(path)
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Whoever held it before us may have removed it: then ours is another one.
        try:
            is_same = os.path.samestat(lock.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            is_same = False
        if is_same:
            return Claim(path, descriptor)
        os.close(descriptor)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _name(text: str) -> str:
    """Return a text as the name of a file, different for different texts."""
    return re.sub(
        r"[^A-Za-z0-9_@.-]|^\.",
        lambda match: "".join(f"%{byte:02x}" for byte in match[0].encode()),
        text,
    )
