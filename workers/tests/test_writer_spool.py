"""The writer and its spool: what happens while PostgreSQL is away, and afterwards.

A real file and a database that is played: it stores what it is told to, or fails in
each of the ways there are.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db.utils import DataError, InternalError, OperationalError

from apps.telemetry import spoolmarks
from apps.telemetry.facts import Bad, Entry, Message
from apps.telemetry.ingest import FencedError, Written
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


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    made = Hall(tmp_path, monkeypatch)
    yield made
    made.spool.close()


AWAY = [
    OperationalError("connection refused"),
    OperationalError("the database did not answer in time"),
    OperationalError("could not extend file: No space left on device"),
    InternalError("cannot execute INSERT in a read-only transaction"),
]


@pytest.mark.parametrize("error", AWAY, ids=["stopped", "frozen", "full", "read-only"])
def test_an_outage_is_acknowledged_from_disk_and_drained_in_order(hall, error):
    hall.base.is_up, hall.base.error = False, lambda: error
    sent = hall.put(50)
    thread = hall.running()

    hall.until(lambda: hall.acknowledged == sent)
    assert hall.stored == []
    assert hall.on_disk == list(range(1, 51))

    hall.base.is_up = True
    hall.until(lambda: len(hall.stored) == 50)
    hall.end(thread)
    assert hall.stored == list(range(1, 51))
    assert all(hall.base.late)
    assert hall.on_disk == []


def test_nothing_is_acknowledged_before_it_is_on_disk(hall, monkeypatch):
    hall.base.is_up = False
    sent = hall.put(20)
    seen: list[tuple[int, int]] = []
    real = spoolfile.SpoolFile.append

    def append(file, messages, batch=0):
        seen.append((len(hall.acknowledged), len(hall.on_disk)))
        real(file, messages, batch)
        seen.append((len(hall.acknowledged), len(hall.on_disk)))

    monkeypatch.setattr(spoolfile.SpoolFile, "append", append)
    hall.run_to_the_end()

    assert seen == [(0, 0), (0, 20)]
    assert hall.acknowledged == sent


def test_a_short_failure_goes_to_the_database_not_to_disk(hall, monkeypatch):
    monkeypatch.setattr("workers.reach.PATIENCE_S", 60)
    fails = [OperationalError(), OperationalError()]
    hall.base.refuses = lambda _: fails.pop() if fails else None
    hall.put(3)
    thread = hall.running()

    hall.until(lambda: hall.stored == [1, 2, 3])
    hall.end(thread)

    assert hall.spool.kept == 0


def test_live_messages_do_not_wait_for_the_drain(hall, monkeypatch):
    monkeypatch.setattr(spooldrain, "CHUNK", 10)
    hall.base.is_up = False
    hall.put(200)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.begin()
    live = hall.put(5)

    hall.run_to_the_end()
    hall.begin()
    thread = hall.running()
    hall.until(lambda: len(hall.stored) == 205)
    hall.end(thread)

    assert hall.stored[:5] == [message.mid for message in live]
    assert hall.stored[5:] == list(range(1, 201))


def test_a_batch_whose_answer_got_lost_is_stored_once(hall):
    hall.base.loses_the_answer = True
    sent = hall.put(10)
    thread = hall.running()

    hall.until(lambda: hall.acknowledged == sent)  # from disk: nobody knows better
    assert hall.on_disk == list(range(1, 11))
    hall.base.is_up = True
    hall.until(lambda: hall.on_disk == [])
    hall.put(1)
    hall.until(lambda: 11 in hall.stored)
    hall.end(thread)

    assert hall.stored == list(range(1, 12))


def test_a_lost_answer_with_a_short_failure_is_stored_once_too(hall, monkeypatch):
    monkeypatch.setattr("workers.reach.PATIENCE_S", 60)
    hall.base.loses_the_answer = True
    sent = hall.put(10)
    thread = hall.running()
    hall.until(lambda: not hall.base.is_up)
    hall.base.is_up = True

    hall.until(lambda: hall.acknowledged == sent)
    hall.put(10)
    hall.until(lambda: len(hall.acknowledged) == 20)
    hall.end(thread)

    assert hall.stored == list(range(1, 21))
    assert hall.spool.kept == 0


def test_a_piece_of_the_drain_whose_answer_got_lost_is_stored_once(hall, monkeypatch):
    """The next piece is smaller and begins within it."""
    monkeypatch.setattr(spooldrain, "CHUNK", 20)
    hall.base.is_up = False
    hall.put(50)
    hall.run_to_the_end()
    hall.base.is_up = hall.base.loses_the_answer = True
    hall.begin()
    thread = hall.running()
    hall.until(lambda: not hall.base.is_up)

    hall.base.is_up = True
    hall.until(lambda: hall.on_disk == [])
    hall.end(thread)

    assert hall.stored == list(range(1, 51))


def test_a_process_that_dies_between_commit_and_deletion_stores_nothing_twice(
    hall, monkeypatch
):
    monkeypatch.setattr(spooldrain, "CHUNK", 20)
    hall.base.is_up = False
    hall.put(50)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.dies_before_deletion(monkeypatch)
    assert len(hall.stored) == 20
    assert len(hall.on_disk) == 50

    hall.begin()
    thread = hall.running()
    hall.until(lambda: hall.on_disk == [])
    hall.end(thread)

    assert hall.stored == list(range(1, 51))


def _die(*_: object) -> None:
    raise SystemExit


def test_a_full_spool_acknowledges_nothing_and_recovers_by_itself(hall, monkeypatch):
    hall.begin(max_bytes=100_000)
    hall.base.is_up = False
    monkeypatch.setattr(writer_module, "BATCH", 10)
    sent = hall.put(400, payload=GOOD + b" " * 1_000)
    thread = hall.running()

    hall.until(lambda: hall.spool.is_full)
    kept = len(hall.acknowledged)
    assert 10 <= kept < 200
    assert hall.inbox.depth == 400 - kept
    assert hall.on_disk == list(range(1, kept + 1))

    hall.base.is_up = True
    hall.until(lambda: len(hall.stored) == 400)
    hall.until(lambda: len(hall.acknowledged) == 400)
    hall.end(thread)
    assert sorted(hall.stored) == list(range(1, 401))
    assert sorted(m.mid for m in hall.acknowledged) == [m.mid for m in sent]


def test_a_disk_that_is_full_when_drained_rows_are_deleted_doubles_nothing(
    hall, monkeypatch
):
    hall.base.is_up = False
    hall.put(30)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.begin()
    real, full = spoolfile.SpoolFile.drop, [True] * 5

    def drop(file, rows):
        if full and full.pop():
            raise spoolfile.SpoolFullError
        real(file, rows)

    monkeypatch.setattr(spoolfile.SpoolFile, "drop", drop)
    thread = hall.running()
    hall.until(lambda: hall.on_disk == [])
    hall.end(thread)

    assert hall.stored == list(range(1, 31))


def test_without_a_spool_nothing_is_acknowledged_until_it_is_stored(hall):
    hall.begin(max_bytes=0)
    hall.base.is_up = False
    sent = hall.put(5)
    thread = hall.running()
    threading.Event().wait(0.5)
    assert hall.acknowledged == []

    hall.base.is_up = True
    hall.until(lambda: hall.acknowledged == sent)
    hall.end(thread)
    assert hall.stored == [1, 2, 3, 4, 5]


def test_a_folder_that_cannot_be_written_is_no_spool_and_no_crash(hall, tmp_path):
    hall.folder = tmp_path / "file"
    hall.folder.touch()
    hall.begin()
    hall.base.is_up = False
    sent = hall.put(5)
    thread = hall.running()
    hall.until(lambda: hall.spool.is_full)
    assert hall.acknowledged == []

    hall.base.is_up = True
    hall.until(lambda: hall.acknowledged == sent)
    hall.end(thread)
    assert hall.stored == [1, 2, 3, 4, 5]


# -- who else may have them ----------------------------------------------------------


def test_what_came_in_a_session_that_is_over_is_left_to_whoever_gets_it_again(hall):
    """Frozen, we lost the shard; its next owner has had it redelivered."""
    hall.base.is_up = False
    hall.over = {1}
    hall.put(5)
    unconfirmed = hall.put(1, qos=0)  # nobody sends this again
    here = hall.put(2, session=2)

    hall.run_to_the_end()

    assert hall.on_disk == [message.mid for message in (*unconfirmed, *here)]
    assert hall.acknowledged == [*unconfirmed, *here]
    assert hall.inbox.depth == 0


def test_what_came_before_its_shard_was_lost_is_stored_nowhere(hall):
    """Also if it is ours again: the owner in between has had it."""
    hall.void = {1}
    hall.put(5)
    ours = hall.put(2, session=2)

    hall.run_to_the_end()

    assert hall.base.stored == ours
    assert hall.acknowledged == ours
    assert hall.inbox.depth == 0


def test_a_shard_that_was_taken_anew_while_a_batch_was_tried_is_another_one(hall):
    hall.base.is_up = False
    hall.put(3)
    thread = hall.running()
    hall.until(lambda: hall.on_disk == [1, 2, 3])

    hall.standing.is_in_doubt = True
    hall.put(3)
    hall.until(lambda: hall.standing.looks > 0)
    hall.epochs[0] = 6
    hall.standing.is_in_doubt = False
    hall.until(lambda: hall.inbox.depth == 0)
    hall.end(thread)

    assert hall.on_disk == [1, 2, 3]
    assert len(hall.acknowledged) == 3


def test_a_clean_session_sends_nothing_again_so_all_of_it_is_kept(hall):
    hall.context = Context("s", UTC, is_redelivered=False)
    hall.begin()
    hall.base.is_up = False
    hall.over = {1}
    hall.put(5)

    hall.run_to_the_end()

    assert hall.on_disk == [1, 2, 3, 4, 5]


def test_after_a_freeze_nothing_is_kept_before_the_leases_were_looked_at(hall):
    hall.base.is_up = False
    hall.standing.is_in_doubt = True
    hall.put(5)
    thread = hall.running()
    hall.until(lambda: hall.standing.looks > 0)
    assert hall.acknowledged == []

    hall.epochs.clear()  # the look shows: somebody else owns the shard
    hall.standing.is_in_doubt = False
    hall.until(lambda: hall.inbox.depth == 0)
    hall.end(thread)

    assert hall.acknowledged == []
    assert hall.on_disk == []


# -- the end of a process ------------------------------------------------------------


def test_told_to_end_while_the_database_is_away_it_keeps_all_at_once(hall, monkeypatch):
    monkeypatch.setattr("workers.reach.PATIENCE_S", 60)
    hall.base.is_up = False
    sent = hall.put(50)

    hall.run_to_the_end()

    assert hall.acknowledged == sent
    assert hall.on_disk == list(range(1, 51))
    assert [p.name for p in hall.folder.glob("house/*/*-wal")] == []  # a clean file


def test_the_spool_of_a_worker_that_never_came_back_is_drained_and_removed(hall):
    hall.base.is_up = True
    hall.run_to_the_end()  # known to the database
    hall.base.is_up = False
    hall.begin("mqtt7@gone")
    hall.base.is_up = True
    thread = hall.running()
    hall.until(lambda: hall.spool.is_met)
    hall.base.is_up = False
    hall.put(30)
    hall.until(lambda: len(hall.acknowledged) == 30)
    hall.end(thread)

    hall.base.is_up = True
    hall.begin()
    thread = hall.running()
    hall.until(lambda: len(hall.stored) == 30)
    hall.until(lambda: not list(hall.folder.glob("house/mqtt7@gone/*")))
    hall.end(thread)

    assert hall.stored == list(range(1, 31))
    assert len(hall.base.live) == 1


def test_the_spool_of_another_database_is_left_alone(hall):
    hall.base.is_up = False
    hall.begin("mqtt7@gone")
    hall.put(3)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.base.live.clear()  # this database never saw it
    hall.begin()
    thread = hall.running()
    hall.put(1)
    hall.until(lambda: hall.stored == [4])
    threading.Event().wait(0.3)
    hall.end(thread)

    assert hall.stored == [4]
    assert hall.on_disk == [1, 2, 3]


# -- what the database refuses -----------------------------------------------------


def test_a_poisonous_message_in_the_spool_is_quarantined_alone(hall):
    hall.base.is_up = False
    hall.put(40)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.base.refuses = lambda entries: (
        DataError("no")
        if any(m.mid == 17 and not isinstance(f, Bad) for m, f in entries)
        else None
    )
    hall.begin()
    thread = hall.running()
    hall.until(lambda: hall.on_disk == [])
    hall.end(thread)

    assert [m.mid for m in hall.base.quarantined] == [17]
    assert sorted(hall.stored) == [n for n in range(1, 41) if n != 17]


def test_what_not_even_the_quarantine_takes_stays_in_the_file(hall):
    hall.base.is_up = False
    hall.put(5)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.base.refuses = lambda entries: (
        DataError("no") if any(m.mid == 3 for m, _ in entries) else None
    )
    hall.begin()
    thread = hall.running()
    hall.until(lambda: hall.on_disk == [])
    hall.end(thread)

    assert hall.stored == [1, 2, 4, 5]
    db = sqlite3.connect(next(hall.folder.glob("house/*/0.sqlite3")))
    assert db.execute("SELECT mid FROM refused").fetchall() == [(3,)]
    db.close()


def test_a_spool_is_drained_whoever_owns_the_shard_by_now(hall):
    hall.base.is_up = False
    hall.put(5)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.base.refuses = lambda _: None
    real = hall.base.write_batch

    def fenced(entries, epochs, *, is_late=False, **options):
        if not is_late:
            raise FencedError({0})
        return real(entries, epochs, is_late=is_late, **options)

    hall.base.write_batch = fenced
    hall.begin()
    thread = hall.running()
    hall.until(lambda: hall.stored == [1, 2, 3, 4, 5])
    hall.end(thread)


def test_a_server_too_slow_for_a_piece_gets_smaller_ones(hall):
    hall.base.is_up = False
    hall.put(300)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.base.refuses = lambda entries: (
        OperationalError("the database did not answer in time")
        if len(entries) > 20
        else None
    )
    hall.begin()
    thread = hall.running()
    hall.until(lambda: len(hall.stored) == 300)
    hall.end(thread)

    assert hall.stored == list(range(1, 301))


# -- damage --------------------------------------------------------------------------


def test_a_damaged_file_is_set_aside_and_what_can_be_read_is_stored(hall, caplog):
    hall.base.is_up = False
    hall.put(20)
    hall.run_to_the_end()
    path = next(hall.folder.glob("house/*/0.sqlite3"))
    db = sqlite3.connect(path)
    db.execute("UPDATE message SET payload = x'00' WHERE mid = 11")
    db.commit()
    db.close()
    hall.base.is_up = True
    hall.begin()
    thread = hall.running()
    hall.until(lambda: len(hall.stored) == 19)
    hall.put(1)
    hall.until(lambda: 21 in hall.stored)
    hall.end(thread)

    assert sorted(hall.stored) == [n for n in range(1, 22) if n != 11]
    assert len(list(path.parent.glob("0.sqlite3.corrupt-*Z"))) == 1
    assert hall.spool.damaged == 1
    assert "CRITICAL" in {record.levelname for record in caplog.records}


def test_what_was_drained_of_a_file_that_is_then_damaged_is_not_stored_again(
    hall, monkeypatch
):
    monkeypatch.setattr(spooldrain, "CHUNK", 10)
    hall.base.is_up = False
    hall.put(30)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.dies_before_deletion(monkeypatch)  # stored 1 to 10, and did not say so
    db = sqlite3.connect(next(hall.folder.glob("house/*/0.sqlite3")))
    db.execute("UPDATE message SET payload = x'00' WHERE mid = 30")
    db.commit()
    db.close()

    hall.begin()
    thread = hall.running()
    hall.until(lambda: len(hall.stored) >= 29)
    hall.until(lambda: hall.on_disk == [])
    hall.end(thread)

    assert hall.stored == list(range(1, 30))


def test_garbage_in_the_place_of_a_file_costs_nothing_else(hall):
    folder = hall.folder / "house" / "mqtt0@here"
    folder.mkdir(parents=True)
    (folder / "0.sqlite3").write_bytes(b"no database at all" * 300)
    hall.base.is_up = False
    hall.begin()
    sent = hall.put(5)

    hall.run_to_the_end()

    assert hall.acknowledged == sent
    assert hall.on_disk == [1, 2, 3, 4, 5]
    assert len(list(folder.glob("*.corrupt-*Z"))) == 1
