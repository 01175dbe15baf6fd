"""A writer's spool: what PostgreSQL cannot take now is kept on disk, and acknowledged.

It never raises for a disk: a full or read-only one keeps nothing until it is well
again, a damaged file is set aside, with all that can still be read of it put into a new
one. Used by the writer's thread; others read the numbers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from apps.telemetry import spoolmarks
from apps.telemetry.facts import Message
from apps.telemetry.spoolmarks import DrainMark, LiveMark
from workers import spooldir, spoolsalvage
from workers.spooldir import Claim
from workers.spoolfile import Load, SpoolFile, SpoolFullError
from workers.spoolrow import SpoolBrokenError, Waiting

log = logging.getLogger(__name__)

OPEN_EVERY_S = 1.0
SALVAGED_AT_ONCE = 1_000
EMPTY = Load(0, 0, 0)


class Spool:
    """Keeps messages, and tells the database and the file what the other one knows."""

    def __init__(self, base: Path, instance: str, node: str, max_bytes: int) -> None:
        """Prepare a spool; no I/O yet.

        Args:
            base: the folder of all spools of this host; may not exist.
            instance: of the installation, so that two may share a folder.
            node: whose file it is.
            max_bytes: how large it may grow; 0: there is none.
        """
        self.base = base
        self.instance = instance
        self.node = node
        self.kept = 0  # messages, since the start
        self.drained = 0
        self.damaged = 0  # files set aside
        self.is_full = False
        self.is_met = False  # whether the database and the file agree
        self._max_bytes = max_bytes
        self._claim: Claim | None = None
        self._file: SpoolFile | None = None
        self._closed: SpoolFile | None = None  # what it left behind is still told
        self._next_open = 0.0
        self._batch = 0
        self._stored: list[Waiting] = []  # in the database, and still in the file

    @classmethod
    def of_claim(cls, claim: Claim, like: Spool) -> Spool:
        """Return a file that somebody left, to be drained."""
        spool = cls(like.base, like.instance, claim.path.parent.name, like._max_bytes)
        spool._claim = claim
        return spool

    # -- for other threads -------------------------------------------------------

    @property
    def load(self) -> Load:
        file = self._file or self._closed
        return file.load if file is not None else EMPTY

    def depth_of(self, connection_id: int) -> int:
        file = self._file or self._closed
        return file.by_connection.get(connection_id, 0) if file is not None else 0

    # -- the file ----------------------------------------------------------------

    def open(self) -> bool:
        """Open the file if it is not; return whether it is. Safe to repeat."""
        if self._file is not None:
            return True
        now = time.monotonic()
        if not self._max_bytes or now < self._next_open:
            return False
        self._next_open = now + OPEN_EVERY_S
        try:
            if self._claim is None:
                folder = spooldir.folder_of(self.base, self.instance, self.node)
                self._claim = spooldir.claim_own(folder)
            self._file, self._closed = self._opened(self._claim.path), None
        except (OSError, SpoolFullError, SpoolBrokenError) as error:
            self._say_full(f"it cannot be opened: {error}")
            return False
        self.is_met = False
        if self._file.load.messages:
            log.warning(
                "spool %s holds %d messages of before",
                self._claim.path,
                self._file.load.messages,
            )
        return True

    def _opened(self, path: Path) -> SpoolFile:
        try:
            return SpoolFile(path, self._max_bytes)
        except SpoolBrokenError as error:
            return self._renew(path, error)

    def _renew(self, path: Path, error: Exception) -> SpoolFile:
        """Set a damaged file aside and begin a new one with what can be read of it."""
        self.damaged += 1
        fresh = path.with_name(f"{path.name}.new")
        for end in ("", "-wal", "-shm"):
            fresh.with_name(fresh.name + end).unlink(missing_ok=True)
        file = SpoolFile(fresh, self._max_bytes)
        try:
            known = spoolsalvage.id_of(path)
            if known is not None:
                file.adopt_id(known)
            saved = sum(
                file.restore(rows) for rows in _chunks(spoolsalvage.salvage(path))
            )
        finally:
            file.close()
        where = spoolsalvage.aside(path)
        fresh.rename(path)
        log.critical(
            "spool damaged, set aside as %s; %d messages could be read and are kept, "
            "any others are only there: %s",
            where,
            saved,
            error,
        )
        return SpoolFile(path, self._max_bytes)

    def _is_broken(self, error: SpoolBrokenError) -> None:
        """Replace the file; its numbers have to be compared with the database anew."""
        assert self._file is not None  # noqa: S101 (whoever calls has used it)
        assert self._claim is not None  # noqa: S101
        self._file.close()
        self._file = None
        self.is_met = False
        self._stored = []
        try:
            self._file = self._renew(self._claim.path, error)
        except (OSError, SpoolFullError, SpoolBrokenError) as again:
            self._say_full(f"it cannot be replaced: {again}")

    def _say_full(self, why: str) -> None:
        if not self.is_full:
            log.error("spool keeps nothing; messages are not acknowledged: %s", why)
        self.is_full = True

    # -- in ----------------------------------------------------------------------

    def keep(self, messages: Sequence[tuple[Message, str]], batch: int = 0) -> bool:
        """Keep messages on disk; return whether they are, and may be acknowledged.

        Args:
            messages: each with its site's code.
            batch: number of the try in which they may have been stored, or 0.
        """
        if not messages:
            return True
        if not self.open() or self._file is None:
            return False
        try:
            self._file.append(messages, batch)
        except SpoolFullError as error:
            self._say_full(str(error))
            return False
        except SpoolBrokenError as error:
            self._is_broken(error)
            return False
        if self.is_full:
            log.warning("spool keeps messages again")
        self.is_full = False
        self.kept += len(messages)
        if batch:
            self.is_met = False  # first ask whether that try was one too many
        return True

    # -- with the database -------------------------------------------------------

    def meet(self) -> None:
        """Make the database and the file agree; call it while `is_met` is False.

        Before the next batch of any kind: only then a number in the database says for
        sure whether the try of that number was stored.

        Raises:
            OperationalError and its kin: the database is away.
        """
        if not self.open() or self._file is None:
            return
        mark = spoolmarks.open_mark(self._file.id, self.node, self._file.load.messages)
        self._batch = max(self._batch, mark.live)  # never one that was tried
        try:
            known = self._file.settle(mark.drained, mark.live)
        except SpoolFullError as error:
            self._say_full(str(error))
            return
        except SpoolBrokenError as error:
            self._is_broken(error)
            return
        if known:
            log.info("spool: %d messages were stored already", known)
        self._stored = []
        self.is_met = True

    def live_mark(self) -> LiveMark | None:
        """Return the mark of the next batch that does not go through the file."""
        if self._file is None or not self.is_met:
            return None
        self._batch += 1
        return LiveMark(self._file.id, self._batch)

    # -- out ---------------------------------------------------------------------

    def oldest(self, most: int, max_bytes: int) -> list[Waiting]:
        """Return the first messages that are not stored; nothing if that is unknown."""
        if self._file is None or not self.is_met or not self._forget_stored():
            return []
        try:
            return self._file.oldest(most, max_bytes)
        except SpoolFullError as error:
            self._say_full(str(error))
        except SpoolBrokenError as error:
            self._is_broken(error)
        return []

    def drain_mark(self, rows: Sequence[Waiting]) -> DrainMark:
        """Return the mark of a batch of these rows, the first of the file."""
        assert self._file is not None  # noqa: S101 (they came from it)
        left = self._file.load.messages - len(rows)
        return DrainMark(self._file.id, rows[-1].seq, left)

    def stored(self, rows: list[Waiting]) -> None:
        """Forget rows that the database has."""
        self.drained += len(rows)
        self._stored += rows
        self._forget_stored()

    def _forget_stored(self) -> bool:
        """Return whether the file holds nothing any more that is stored."""
        if not self._stored or self._file is None:
            return True
        try:
            self._file.drop(self._stored)
            self._stored = []
            self._file.shrink()
        except SpoolFullError as error:
            self._say_full(str(error))
            return False
        except SpoolBrokenError as error:
            self._is_broken(error)
            return False
        return True

    def refuse(self, row: Waiting) -> None:
        """Put a message aside, in the file, that nothing in the database takes."""
        if self._file is None:
            return
        log.critical(
            "spool: nothing takes a message connection_id=%d, kept in %s: refused",
            row.message.connection_id,
            self._file.path,
        )
        try:
            self._file.refuse(row)
        except SpoolFullError as error:
            self._say_full(str(error))
        except SpoolBrokenError as error:
            self._is_broken(error)

    # -- the end -----------------------------------------------------------------

    def close(self) -> None:
        """Leave the file to whoever comes next."""
        if self._file is not None:
            self._file.close()
            self._file, self._closed = None, self._file
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    @property
    def path(self) -> Path | None:
        return self._claim.path if self._claim is not None else None

    def remove(self) -> bool:
        """Delete an empty file that somebody left; return False if it has to stay."""
        if self._file is None or self._claim is None or not self._file.is_empty:
            self.close()
            return False
        spool = self._file.id
        self._file.close()
        self._file = None
        self._claim.remove()
        self._claim = None
        spoolmarks.forget(spool)
        return True

    @property
    def is_ours(self) -> bool:
        """Whether the database knows this file; asks it."""
        return self._file is not None and spoolmarks.is_known(self._file.id)


def _chunks(rows: Iterator[Waiting]) -> Iterator[list[Waiting]]:
    while chunk := list(islice(rows, SALVAGED_AT_ONCE)):
        yield chunk
