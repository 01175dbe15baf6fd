"""A writer with a real spool, and a database that is played.

It stores what it is told to, or fails in each of the ways there are.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db.utils import OperationalError

from apps.telemetry import spoolmarks
from apps.telemetry.facts import Bad, Entry, Message
from apps.telemetry.ingest import Written
from apps.telemetry.protocols.mapped import NO_RULES, SiteRules
from apps.telemetry.spoolmarks import AlreadyWrittenError, DrainMark, LiveMark, Mark
from workers import spooldrain, spoolfile
from workers import writer as writer_module
from workers.inbox import Inbox
from workers.reach import Prober, Reach
from workers.spool import Spool
from workers.standing import Unquestioned
from workers.writer import Context, Writer

UTC = ZoneInfo("UTC")
GOOD = b'{"values": {"t": 1}}'
MB = 1_048_576


class Base:
    """PostgreSQL as far as the writer sees it: batches, and the marks of spools."""

    def __init__(self) -> None:
        self.is_up = True
        self.loses_the_answer = False  # commits, and the connection breaks
        self.error: Callable[[], Exception] = lambda: OperationalError("refused")
        self.refuses: Callable[[Sequence[Entry]], Exception | None] = lambda _: None
        self.stored: list[Message] = []
        self.quarantined: list[Message] = []
        self.late: list[bool] = []
        self.live: dict[UUID, int] = {}
        self.drained: dict[UUID, int] = {}

    def write_batch(
        self,
        entries: Sequence[Entry],
        epochs: dict[int, int],
        *,
        dropped: object = None,
        mark: Callable[[], None] | None = None,
        is_late: bool = False,
    ) -> Written:
        if not self.is_up:
            raise self.error()
        refusal = self.refuses(entries)
        if refusal is not None:
            raise refusal
        if mark is not None:
            self._set(getattr(mark, "__self__"))  # noqa: B009
        for message, fact in entries:
            kind = self.quarantined if isinstance(fact, Bad) else self.stored
            kind.append(message)
            self.late.append(is_late)
        if self.loses_the_answer:
            self.is_up = self.loses_the_answer = False
            words = "server closed the connection unexpectedly"
            raise OperationalError(words)
        return Written()

    def _set(self, mark: LiveMark | DrainMark) -> None:
        known, number = (
            (self.live, mark.number)
            if isinstance(mark, LiveMark)
            else (self.drained, mark.through)
        )
        if known.get(mark.spool, 0) >= number:
            raise AlreadyWrittenError
        known[mark.spool] = number

    def open_mark(self, spool: UUID, node: str, waiting: int) -> Mark:
        self.probe()
        return Mark(self.live.setdefault(spool, 0), self.drained.get(spool, 0))

    def is_known(self, spool: UUID) -> bool:
        self.probe()
        return spool in self.live

    def forget(self, spool: UUID) -> None:
        del self.live[spool]

    def probe(self) -> None:
        if not self.is_up:
            raise self.error()


class NoRules:
    def refresh(self) -> bool:
        return True

    def of_site(self, site_id: int) -> SiteRules:
        return NO_RULES


class Ready(Prober):
    """Knows at once how the database is."""

    def __init__(self, base: Base) -> None:
        super().__init__(base.probe)
        self._base = base

    @property
    def answers(self) -> bool:
        return self._base.is_up

    @answers.setter
    def answers(self, value: bool) -> None: ...


class Frozen(Unquestioned):
    """A keeper that looks when it is asked to."""

    is_in_doubt = False
    looks = 0

    def look(self) -> None:
        self.looks += 1


class Hall:
    """One host: a folder, a database, and processes one after the other."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base = Base()
        self.folder = folder
        for name in ("open_mark", "is_known", "forget"):
            monkeypatch.setattr(spoolmarks, name, getattr(self.base, name))
        monkeypatch.setattr(writer_module, "Ingest", lambda: self.base)
        monkeypatch.setattr(writer_module, "RuleBook", NoRules)
        monkeypatch.setattr(writer_module, "IDLE_S", 0.01)
        monkeypatch.setattr(writer_module, "FULL_S", 0.01)
        monkeypatch.setattr(writer_module, "connection", self)
        monkeypatch.setattr("workers.reach.PATIENCE_S", 0.05)
        monkeypatch.setattr("workers.reach.ASK_EVERY_S", 0.01)
        monkeypatch.setattr(spooldrain, "_zones", lambda ids: dict.fromkeys(ids, UTC))
        self.acknowledged: list[Message] = []
        self.order: list[str] = []
        self.n = 0
        self.standing = Frozen()
        self.over: set[int] = set()  # sessions
        self.void: set[int] = set()
        self.epochs = {0: 5}
        self.context = Context("s", UTC)
        self.writer: Writer
        self.begin()

    def close(self) -> None: ...  # the database connection's

    def begin(self, node: str = "mqtt0@here", max_bytes: int = MB) -> None:
        """Begin a process."""
        self.inbox = Inbox()
        self.spool = Spool(self.folder, "house", node, max_bytes)
        self.writer = Writer(
            self.inbox,
            self.epochs,
            {1: self.context},
            acknowledge=self.acknowledged.extend,
            committed=lambda _: None,
            fenced=lambda _: None,
            timed=lambda _: None,
            shown=lambda _: None,
            spool=self.spool,
            reach=Reach(Ready(self.base)),
            standing=self.standing,
            is_over=lambda message: message.session in self.over,
            is_void=lambda message: message.session in self.void,
        )

    def put(self, count: int, **but: Any) -> list[Message]:
        sent = []
        for _ in range(count):
            self.n += 1
            message = Message(
                0, 1, 1, 1, b"s/datalogger/a/1/data", GOOD, 1, False, False, 0, 0
            )._replace(mid=self.n, received_us=self.n, **but)
            self.inbox.put(message)
            sent.append(message)
        return sent

    def run_to_the_end(self) -> None:
        """Have the process store or keep all that it has, and end."""
        self.writer.stop()
        self.writer.run()

    def dies_before_deletion(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have a new process drain one piece, and end before it drops it."""
        self.begin()
        with monkeypatch.context() as dying:
            dying.setattr(spoolfile.SpoolFile, "drop", _die)
            with pytest.raises(SystemExit):
                self.writer.run()
        self.spool.close()

    def running(self) -> threading.Thread:
        thread = threading.Thread(target=self.writer.run)
        thread.start()
        return thread

    def end(self, thread: threading.Thread) -> None:
        self.writer.stop()
        thread.join(20)
        assert not thread.is_alive()

    def until(self, check: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(2_000):
            if check():
                return
            pause.wait(0.01)
        raise AssertionError

    @property
    def on_disk(self) -> list[int]:
        found: list[int] = []
        for path in sorted(self.folder.glob("house/*/*.sqlite3")):
            rows = "SELECT mid FROM message ORDER BY seq"
            with (
                suppress(sqlite3.OperationalError),  # it is just being made
                closing(sqlite3.connect(path)) as db,
            ):
                found += [row[0] for row in db.execute(rows)]
        return found

    @property
    def stored(self) -> list[int]:
        return [message.mid for message in self.base.stored]


def _die(*_: object) -> None:
    raise SystemExit
