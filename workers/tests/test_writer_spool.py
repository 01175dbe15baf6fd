"""What a writer does while PostgreSQL is away, and when it is back."""

from __future__ import annotations

import threading

import pytest
from django.db.utils import InternalError, OperationalError

from workers import spooldrain, spoolfile
from workers import writer as writer_module
from workers.tests.hall import GOOD

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


def test_what_a_writer_leaves_on_disk_is_still_told_when_it_has_ended(hall):
    hall.base.is_up = False
    hall.put(20)

    hall.run_to_the_end()

    assert hall.spool.load.messages == hall.spool.depth_of(1) == len(hall.on_disk) == 20


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
