"""The part of each asset's address that changes when any of them does."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LETTERS = 12  # 48 bits; it only has to differ from what browsers still keep


def asset_version(root: Path) -> str:
    """Return a hash of our assets, and of the lock: it pins whom the others come from.

    One version for all: a script names its neighbours by relative paths, and so finds
    those of its own version without being rewritten.
    """
    digest = sha256((root / "requirements/base.txt").read_bytes())
    for path in sorted(root.glob("apps/*/static/**/*.*")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:LETTERS]
