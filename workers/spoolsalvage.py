"""What is done with a damaged spool: what can be read of it is saved, the rest kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

from workers.spoolrow import COLUMNS, SpoolBrokenError, Waiting, waiting_of


def id_of(path: Path) -> UUID | None:
    """Return whose file this was, though it be damaged."""
    with suppress(sqlite3.Error, ValueError), closing(sqlite3.connect(path)) as db:
        row = db.execute("SELECT value FROM about WHERE name = 'id'").fetchone()
        return UUID(row[0]) if row else None
    return None


def salvage(path: Path) -> Iterator[Waiting]:
    """Yield what can be read of a damaged file and is still as it was written."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
        for row in db.execute(f"SELECT seq, {COLUMNS} FROM message ORDER BY seq"):  # noqa: S608
            with suppress(SpoolBrokenError):
                yield waiting_of(row)


def aside(path: Path) -> Path:
    """Rename a damaged file and what belongs to it; return its new name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    count = 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}-{count}")
    for suffix in ("-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    path.rename(target)
    return target
