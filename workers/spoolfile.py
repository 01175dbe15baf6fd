"""One spool on disk: messages that PostgreSQL could not take, in the order of receipt.

SQLite in WAL mode with synchronous=FULL: when `append` has returned, the rows survive a
loss of power, and their messages may be acknowledged. A file belongs to one thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

from apps.telemetry.facts import Message
from workers.spoolrow import COLUMNS, SpoolBrokenError, Waiting, row_of, waiting_of

PAGE = 4_096
VACUUM_ABOVE = 1_048_576  # bytes; an empty file above this gives them back
CACHE_KB = 2_048
BUSY_S = 2.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL,
    code TEXT NOT NULL, shard INTEGER NOT NULL, site_id INTEGER NOT NULL,
    connection_id INTEGER NOT NULL, topic BLOB NOT NULL, payload BLOB NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL, dup INTEGER NOT NULL,
    mid INTEGER NOT NULL, received_us INTEGER NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS refused AS SELECT * FROM message WHERE 0;
"""
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
# What another process (a backup, somebody's sqlite3) or the disk does for a while.
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR}


class SpoolFullError(Exception):
    """Nothing more can be written for now: the cap, a full or a read-only disk."""


class Load(NamedTuple):
    messages: int
    size: int  # bytes of topics and payloads
    oldest_us: int  # when the first of them was received; 0: none


class SpoolFile:
    """An open file; raises SpoolFullError and SpoolBrokenError from every method."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Open a file, or make it; one that was not closed cleanly is recovered.

        Args:
            path: where; its folder exists.
            max_bytes: it never grows beyond.
        """
        self.path = path
        self.load = Load(0, 0, 0)
        self.by_connection: dict[int, int] = {}
        with _told():
            _make_private(path)
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            with _told():
                self._open(max_bytes)
        except BaseException:
            self._db.close()
            raise

    def _open(self, max_bytes: int) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA cache_size=-{CACHE_KB}")
        db.execute(f"PRAGMA max_page_count={max(16, max_bytes // PAGE)}")
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise SpoolBrokenError(problem)
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        known = dict(db.execute("SELECT name, value FROM about").fetchall())
        if "id" not in known:
            known["id"] = str(uuid4())
            db.execute("INSERT INTO about VALUES ('id', ?)", [known["id"]])
        try:
            self.id = UUID(known["id"])
        except ValueError as error:
            raise SpoolBrokenError(error) from error
        self._count()

    def _count(self) -> None:
        rows = self._db.execute(
            "SELECT connection_id, count(*), sum(length(topic) + length(payload)), "
            "min(received_us) FROM message GROUP BY connection_id"
        ).fetchall()
        self.by_connection = {row[0]: row[1] for row in rows}
        self.load = Load(
            sum(row[1] for row in rows),
            sum(row[2] for row in rows),
            min((row[3] for row in rows), default=0),
        )

    @property
    def is_durable(self) -> bool:
        """Return what SQLite itself says: WAL, and every commit flushed to the disk."""
        with _told():
            mode = self._db.execute("PRAGMA journal_mode").fetchone()[0]
            sync = self._db.execute("PRAGMA synchronous").fetchone()[0]
        return bool(mode == "wal" and sync >= 2)  # noqa: PLR2004 (2 is FULL)

    def adopt_id(self, spool: UUID) -> None:
        """Take the identity and the numbers of a file that this one replaces."""
        with _told():
            self._db.execute(
                "UPDATE about SET value = ? WHERE name = 'id'", [str(spool)]
            )
        self.id = spool

    def number_from(self, seq: int) -> None:
        """Give new rows numbers after this one: what was drained is never reused."""
        with _told():
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'message'")
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('message', ?)", [seq])

    @property
    def last_seq(self) -> int:
        with _told():
            row = self._db.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'message'"
            ).fetchone()
        return int(row[0]) if row else 0

    # -- in and out --------------------------------------------------------------

    def append(self, messages: Sequence[tuple[Message, str]], batch: int = 0) -> None:
        """Keep messages, all or none; they are durable when this has returned.

        Args:
            messages: each with its site's code, which its topic begins with.
            batch: number of the try in which they may have been stored already.
        """
        rows = [row_of(message, code, batch) for message, code in messages]
        places = ",".join("?" * 13)
        with _told(), self._transaction():
            self._db.executemany(
                f"INSERT INTO message ({COLUMNS}) VALUES ({places})",  # noqa: S608
                rows,
            )
        count, size, oldest_us = self.load
        for message, _ in messages:
            size += len(message.topic) + len(message.payload)
            key = message.connection_id
            self.by_connection[key] = self.by_connection.get(key, 0) + 1
            oldest_us = oldest_us or message.received_us
        self.load = Load(count + len(rows), size, oldest_us)

    def oldest(self, most: int, max_bytes: int) -> list[Waiting]:
        """Return the first messages, at least one if there is any.

        Raises:
            SpoolBrokenError: also if a row is not what was written.
        """
        found: list[Waiting] = []
        size = 0
        with _told():
            rows = self._db.execute(
                f"SELECT seq, {COLUMNS} FROM message ORDER BY seq LIMIT ?",  # noqa: S608
                [most],
            )
            for row in rows:
                waiting = waiting_of(row)
                size += len(waiting.message.payload)
                if found and size > max_bytes:
                    break
                found.append(waiting)
            rows.close()
        return found

    def redeliveries(self, most: int) -> list[Waiting]:
        """Return the first messages with DUP set."""
        with _told():
            rows = self._db.execute(
                f"SELECT seq, {COLUMNS} FROM message "  # noqa: S608
                "WHERE dup = 1 AND qos > 0 ORDER BY seq LIMIT ?",
                [most],
            ).fetchall()
        return [waiting_of(row) for row in rows]

    def settle(self, drained: int, live: int) -> int:
        """Forget what the database has already; return how many messages that were.

        Args:
            drained: rows up to this one.
            live: a batch up to this one was stored if it was ever tried.
        """
        with _told(), self._transaction():
            gone = self._db.execute(
                "DELETE FROM message WHERE seq <= ? OR batch BETWEEN 1 AND ?",
                [drained, live],
            ).rowcount
            # What was tried and is not there: its number says nothing any more.
            self._db.execute("UPDATE message SET batch = 0 WHERE batch > 0")
        if self.last_seq < drained:
            self.number_from(drained)
        with _told():
            self._count()
        return int(gone)

    def drop(self, rows: Sequence[Waiting]) -> None:
        """Forget rows that are stored: the first ones."""
        with _told(), self._transaction():
            self._db.execute("DELETE FROM message WHERE seq <= ?", [rows[-1].seq])
            first = self._db.execute(
                "SELECT received_us FROM message ORDER BY seq LIMIT 1"
            ).fetchone()
        count, size, _ = self.load
        for row in rows:
            message = row.message
            size -= len(message.topic) + len(message.payload)
            left = self.by_connection.get(message.connection_id, 0) - 1
            if left > 0:
                self.by_connection[message.connection_id] = left
            else:
                self.by_connection.pop(message.connection_id, None)
        self.load = Load(count - len(rows), size, first[0] if first else 0)

    def refuse(self, row: Waiting) -> None:
        """Put a message aside that the database cannot take in any form."""
        with _told(), self._transaction():
            self._db.execute(
                "INSERT INTO refused SELECT * FROM message WHERE seq = ?", [row.seq]
            )
        self.drop([row])

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is in it, not even what was refused."""
        with _told():
            row = self._db.execute("SELECT count(*) FROM refused").fetchone()
        return self.load.messages == 0 and row[0] == 0

    def shrink(self) -> None:
        """Give the room of an empty file back to the disk; cheap when there is none."""
        with _told():
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            if self.load.messages == 0 and pages * PAGE > VACUUM_ABOVE:
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def restore(self, rows: Iterable[Waiting]) -> int:
        """Take rows with their numbers; return how many."""
        places = ",".join("?" * 14)
        count = 0
        with _told(), self._transaction():
            for seq, batch, code, message in rows:
                self._db.execute(
                    f"INSERT INTO message (seq, {COLUMNS}) VALUES ({places})",  # noqa: S608
                    (seq, *row_of(message, code, batch)),
                )
                count += 1
        self._count()
        return count

    def close(self) -> None:
        self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite has done it itself after a full disk
            self._db.execute("ROLLBACK")


class _told:
    """Turns SQLite's errors into ours."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, _kind: object, error: BaseException | None, _trace: object
    ) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _FULL or code in _PASSING:
            raise SpoolFullError(error) from error
        raise SpoolBrokenError(error) from error


def _make_private(path: Path) -> None:
    """Make the file if there is none; SQLite gives its logs the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SpoolFullError(error) from error
