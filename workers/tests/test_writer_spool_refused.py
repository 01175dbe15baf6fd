"""What the database refuses in a drain, and a spool that is damaged."""

from __future__ import annotations

import sqlite3

from django.db.utils import DataError, OperationalError

from apps.telemetry.facts import Bad
from apps.telemetry.ingest import FencedError
from workers import spooldrain


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
