"""The writer: stores, has acknowledged, waits, divides; against a scripted ingest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db.utils import DataError, IntegrityError, OperationalError

from apps.telemetry.facts import Bad, Entry, Message, Samples
from apps.telemetry.ingest import FencedError, Written
from apps.telemetry.protocols.mapped import NO_RULES, SiteRules
from workers import writer as writer_module
from workers.inbox import Inbox
from workers.reach import Prober, Reach
from workers.spool import Spool
from workers.standing import Unquestioned
from workers.writer import Context, Writer

UTC = ZoneInfo("UTC")
GOOD = b'{"values": {"t": 1}}'

Refusal = Callable[[Sequence[Entry]], Exception | None]


class FakeIngest:
    """Stores what its script does not refuse."""

    def __init__(self) -> None:
        self.refuse: Refusal = lambda _: None
        self.stored: list[Entry] = []
        self.batches: list[int] = []
        self.dropped: dict[int, int] = {}
        self.epochs: list[dict[int, int]] = []

    def write_batch(self, entries, epochs, *, dropped=None, mark=None):
        self.batches.append(len(entries))
        self.epochs.append(epochs)
        error = self.refuse(entries)
        if error is not None:
            raise error
        self.stored += entries
        for connection_id, count in (dropped or {}).items():
            self.dropped[connection_id] = self.dropped.get(connection_id, 0) + count
        return Written()


class NoRules:
    def refresh(self) -> bool:
        return True

    def of_site(self, site_id: int) -> SiteRules:
        return NO_RULES


class Patient(Reach):
    """Never gives the database up: there is no spool here."""

    wait_s = 0.01

    def failed(self, began: float, why: str) -> None: ...


class Desk:
    """A writer with a fake ingest and notebooks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.ingest = FakeIngest()
        monkeypatch.setattr(writer_module, "Ingest", lambda: self.ingest)
        monkeypatch.setattr(writer_module, "RuleBook", NoRules)
        monkeypatch.setattr(writer_module, "FULL_S", 0.01)
        monkeypatch.setattr(writer_module, "IDLE_S", 0.01)
        self.closed = 0
        monkeypatch.setattr(writer_module, "connection", self)
        self.inbox = Inbox()
        self.epochs = {0: 5, 1: 6}
        self.acknowledged: list[Message] = []
        self.committed: list[Written] = []
        self.fenced: list[set[int]] = []
        self.contexts = {1: Context("s", UTC), 2: Context("s2", UTC)}
        self.writer = Writer(
            self.inbox,
            self.epochs,
            self.contexts,
            acknowledge=self.acknowledged.extend,
            committed=self.committed.append,
            fenced=self.note_fenced,
            timed=lambda _: None,
            shown=lambda _: None,
            spool=Spool(folder, "test", "mqtt0@here", 0),
            reach=Patient(Prober(lambda: None)),
            standing=Unquestioned(),
            is_over=lambda _: False,
            is_void=lambda _: False,
        )

    def close(self) -> None:  # the database connection's
        self.closed += 1

    def note_fenced(self, shards: set[int]) -> None:
        self.fenced.append(shards)
        for shard in shards:
            self.epochs.pop(shard, None)

    def put(self, count: int = 1, payload: bytes = GOOD, **but: int) -> list[Message]:
        said: dict = {"shard": 0, "connection_id": 1, "qos": 1} | but
        topic = b"s/datalogger/a/1/data" if said["connection_id"] == 1 else b"s2/x"
        messages = [
            Message(
                said["shard"],
                1,
                said["connection_id"],
                1,
                topic,
                payload,
                said["qos"],
                False,
                False,
                n + 1,
                n,
            )
            for n in range(count)
        ]
        for message in messages:
            self.inbox.put(message)
        return messages

    def run(self) -> None:
        """Write all that is there, then end."""
        self.writer.stop()
        self.writer.run()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    return Desk(monkeypatch, tmp_path)


def mids(entries: Sequence[Entry]) -> list[int]:
    return [entry.message.mid for entry in entries]


def test_what_waits_is_one_batch_and_acknowledged_when_it_is_stored(desk):
    sent = desk.put(100)

    desk.run()

    assert desk.ingest.batches == [100]
    assert isinstance(desk.ingest.stored[0].fact, Samples)
    assert desk.acknowledged == sent
    assert len(desk.committed) == 1
    assert desk.inbox.depth == 0
    assert desk.closed == 1


def test_a_batch_is_bounded(desk, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH", 40)
    desk.put(100)

    desk.run()

    assert desk.ingest.batches == [40, 40, 20]


def test_the_writer_ends_with_an_empty_inbox_and_not_before(desk):
    thread = threading.Thread(target=desk.writer.run)
    thread.start()
    desk.put(10)
    desk.writer.stop()
    thread.join(timeout=10)

    assert not thread.is_alive()
    assert len(desk.acknowledged) == 10


def test_what_comes_between_the_last_look_and_the_end_is_written(desk, monkeypatch):
    take = desk.inbox.take
    last = iter([desk.writer.stop])

    def too_early(most: int, wait_s: float) -> list[Message]:
        found: list[Message] = take(most, wait_s)
        for stop in last:
            desk.put(10)
            stop()
        return found

    monkeypatch.setattr(desk.inbox, "take", too_early)

    desk.writer.run()

    assert len(desk.acknowledged) == 10


def test_a_message_of_a_shard_that_is_not_ours_is_neither_stored_nor_acknowledged(desk):
    desk.put(3, shard=9)
    desk.put(2)

    desk.run()

    assert desk.ingest.batches == [2]
    assert len(desk.acknowledged) == 2
    assert desk.inbox.depth == 0


def test_a_message_of_an_unknown_connection_is_neither_stored_nor_acknowledged(desk):
    desk.put(3, connection_id=99)

    desk.run()

    assert desk.ingest.stored == []
    assert desk.acknowledged == []
    assert desk.inbox.depth == 0


# -- the database is away ------------------------------------------------------


def test_a_database_that_is_away_gets_the_same_batch_until_it_is_back(desk):
    sent = desk.put(3)
    fails = [OperationalError("server closed"), OperationalError("starting up")]
    desk.ingest.refuse = lambda _: fails.pop(0) if fails else None

    desk.run()

    assert desk.ingest.batches == [3, 3, 3]
    assert desk.acknowledged == sent
    assert desk.closed == 3  # a new connection for every try


def test_nothing_is_acknowledged_while_the_database_is_away(desk):
    desk.put(3)
    desk.ingest.refuse = lambda _: OperationalError()
    thread = threading.Thread(target=desk.writer.run)
    thread.start()
    deadline = time.monotonic() + 10
    while len(desk.ingest.batches) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)

    desk.writer.give_up()
    thread.join(timeout=10)

    assert not thread.is_alive()
    assert desk.acknowledged == []
    assert desk.committed == []


# -- a message that the database refuses ---------------------------------------


def poison(*bad: int) -> Refusal:
    def refuse(entries: Sequence[Entry]) -> Exception | None:
        if any(e.message.mid in bad and not isinstance(e.fact, Bad) for e in entries):
            return DataError("invalid byte sequence\nwith CONTEXT")
        return None

    return refuse


@pytest.mark.parametrize("bad", [(1,), (100,), (37,), (1, 2), (3, 50, 98)])
def test_only_the_refused_messages_are_quarantined(desk, bad):
    sent = desk.put(100)
    desk.ingest.refuse = poison(*bad)

    desk.run()

    quarantined = [e for e in desk.ingest.stored if isinstance(e.fact, Bad)]
    assert mids(quarantined) == list(bad)
    assert sorted(mids(desk.ingest.stored)) == list(range(1, 101))
    assert sorted(desk.acknowledged) == sorted(sent)
    assert len(desk.ingest.batches) < 20 * len(bad)


def test_a_quarantined_message_names_the_refusal_in_one_line(desk):
    desk.put(1)
    desk.ingest.refuse = poison(1)

    desk.run()

    fact = desk.ingest.stored[0].fact
    assert fact == Bad("data_error", "DataError: invalid byte sequence")


@pytest.mark.parametrize(
    "error", [IntegrityError(), ValueError(), TypeError(), KeyError("x")]
)
def test_a_fault_of_ours_in_one_message_costs_only_that_message(desk, error):
    desk.put(9)
    desk.ingest.refuse = lambda entries: (
        error
        if any(e.message.mid == 4 and type(e.fact) is Samples for e in entries)
        else None
    )

    desk.run()

    assert len(desk.acknowledged) == 9


def test_what_neither_the_quarantine_nor_the_disk_takes_ends_the_thread(desk):
    desk.put(1)
    desk.ingest.refuse = lambda _: DataError("no way")
    desk.writer._spool.keep = lambda *_: False

    with pytest.raises(DataError):
        desk.run()

    assert desk.acknowledged == []
    assert desk.inbox.depth == 0


def test_order_is_kept_around_a_refused_message(desk):
    desk.put(8)
    desk.ingest.refuse = poison(5)

    desk.run()

    assert mids(desk.ingest.stored) == list(range(1, 9))


# -- somebody else owns the shard ----------------------------------------------


def test_a_fenced_shard_is_told_and_the_rest_of_the_batch_is_stored(desk):
    desk.put(3, shard=1)
    kept = desk.put(3)
    desk.ingest.refuse = lambda entries: (
        FencedError({1}) if any(e.message.shard == 1 for e in entries) else None
    )

    desk.run()

    assert desk.fenced == [{1}]
    assert [message.shard for message in desk.acknowledged] == [0, 0, 0]
    assert desk.acknowledged == kept
    assert desk.inbox.depth == 0


def test_a_fenced_batch_acknowledges_nothing(desk):
    desk.put(3)
    desk.ingest.refuse = lambda _: FencedError({0})

    desk.run()

    assert desk.acknowledged == []
    assert desk.committed == []
    assert desk.ingest.batches == [3]


def test_a_shard_lost_while_a_batch_is_divided_is_fenced_as_well(desk):
    desk.put(4)

    def refuse(entries: Sequence[Entry]) -> Exception | None:
        if len(entries) == 4:
            return DataError()
        return FencedError({0})

    desk.ingest.refuse = refuse

    desk.run()

    assert desk.acknowledged == []
    assert desk.fenced


# -- what had no room ----------------------------------------------------------


def test_dropped_messages_are_counted_even_when_nothing_else_came(desk):
    desk.inbox.give_back_dropped({1: 4})

    desk.run()

    assert desk.ingest.dropped == {1: 4}


@pytest.mark.parametrize("error", [DataError(), FencedError({0})])
def test_dropped_messages_are_counted_once_whatever_becomes_of_the_batch(desk, error):
    desk.inbox.give_back_dropped({1: 4})
    desk.put(2)
    fails = [error]
    desk.ingest.refuse = lambda _: fails.pop(0) if fails else None

    desk.run()

    counted = desk.ingest.dropped.get(1, 0)
    assert counted + desk.inbox.take_dropped().get(1, 0) == 4


# -- leases --------------------------------------------------------------------


def test_a_batch_is_written_under_the_epochs_of_its_own_moment(desk):
    desk.put(1)

    desk.run()
    desk.epochs[0] = 99

    assert desk.ingest.epochs == [{0: 5, 1: 6}]
