"""A value that the database refuses costs its own message, and nothing else.

The real writer and the real database; a trigger plays the refusal.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from apps.telemetry.facts import Message
from apps.telemetry.ingest import Written
from apps.telemetry.models import QuarantinedMessage, Reading
from apps.telemetry.tests.batches import Feed
from workers import writer as writer_module
from workers.inbox import Inbox
from workers.reach import Prober, Reach
from workers.spool import Spool
from workers.standing import Unquestioned
from workers.writer import Context, Writer

POISON = 666


def refuse(table: str, condition: str, errcode: str = "22003") -> None:
    """Make a table refuse rows as if they held what no column can."""
    with connection.cursor() as cursor:
        cursor.execute(f"""
            CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF {condition} THEN
                    RAISE EXCEPTION 'refused' USING ERRCODE = '{errcode}';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON {table}
                FOR EACH ROW EXECUTE FUNCTION refuse_{table}();
        """)


class Plant:
    """A writer on the test's database; `tries` are the sizes of its batches."""

    def __init__(self, site, folder: Path) -> None:
        self.feed = Feed(site)
        self.folder = folder
        self.inbox = Inbox()
        self.acknowledged: list[int] = []
        self.committed: list[Written] = []
        self.writer = Writer(
            self.inbox,
            {self.feed.shard: self.feed.epoch},
            {self.feed.connection.pk: Context(site.code, ZoneInfo("UTC"))},
            acknowledge=lambda messages: self.acknowledged.extend(
                message.mid for message in messages
            ),
            committed=self.committed.append,
            fenced=lambda _: None,
            timed=lambda _: None,
            shown=lambda _: None,
            spool=Spool(folder, "test", "mqtt0@here", 50_000_000),
            reach=Reach(Prober(lambda: None)),
            standing=Unquestioned(),
            is_over=lambda _: False,
            is_void=lambda _: False,
        )
        self.tries: list[int] = []
        real = self.writer._ingest.write_batch

        def counted(entries, *args, **options):
            self.tries.append(len(entries))
            return real(entries, *args, **options)

        self.writer._ingest.write_batch = counted  # type: ignore[method-assign]

    def put(self, number: int, payload: bytes) -> Message:
        topic = f"{self.feed.site.code}/datalogger/a/1/data".encode()
        message = self.feed.message(payload, topic=topic, mid=number)
        self.inbox.put(message)
        return message

    def put_values(self, count: int, *poisoned: int) -> None:
        for n in range(1, count + 1):
            value = POISON if n in poisoned else n / 10
            self.put(n, b'{"values": {"t": %r}}' % value)

    def on_disk(self) -> list[int]:
        [path] = self.folder.glob("**/*.sqlite3")
        with closing(sqlite3.connect(path)) as db:
            found = db.execute("SELECT mid FROM message UNION SELECT mid FROM refused")
            return sorted(row[0] for row in found)

    def run(self) -> None:
        self.writer.stop()
        self.writer.run()


class Kept:
    """The connection of the test, which must stay open."""

    def close(self) -> None: ...


@pytest.fixture
def plant(north, tmp_path, monkeypatch) -> Plant:
    monkeypatch.setattr(writer_module, "connection", Kept())
    return Plant(north, tmp_path)


def test_one_value_in_a_batch_of_500_is_quarantined_and_the_rest_stored(plant):
    refuse("telemetry_reading", f"NEW.value = {POISON}")
    plant.put_values(500, 137)

    plant.run()

    assert Reading.objects.count() == 499
    [row] = QuarantinedMessage.objects.all()
    assert (row.reason, bytes(row.payload)) == ("data_error", b'{"values": {"t": 666}}')
    assert "refused" in row.detail
    assert sorted(plant.acknowledged) == list(range(1, 501))
    assert plant.feed.counters == (500, 499, 0, 1, 0)
    assert len(plant.tries) <= 2 * 9 + 2  # halves of 500, twice, and the quarantine


def test_many_refused_values_are_found_one_by_one(plant):
    refuse("telemetry_reading", f"NEW.value = {POISON}", "23514")
    poisoned = [1, 2, 63, 64, 65, 199, 200]
    plant.put_values(200, *poisoned)

    plant.run()

    assert Reading.objects.count() == 193
    assert QuarantinedMessage.objects.count() == 7
    assert sorted(plant.acknowledged) == list(range(1, 201))
    assert plant.feed.counters == (200, 193, 0, 7, 0)


def test_a_redelivery_of_what_was_refused_is_quarantined_once(plant):
    refuse("telemetry_reading", f"NEW.value = {POISON}")
    plant.put_values(3, 2)
    plant.run()
    again = plant.put(2, b'{"values": {"t": 666}}')
    plant.inbox.take(1, 0)
    plant.inbox.put(again._replace(dup=True))

    plant.run()

    assert QuarantinedMessage.objects.count() == 1
    assert plant.feed.counters == (4, 2, 1, 1, 0)


def test_what_not_even_the_quarantine_takes_is_kept_on_disk_and_the_rest_stored(plant):
    refuse("telemetry_quarantinedmessage", "NEW.payload_size = 7")
    plant.put_values(20)
    plant.put(21, b"{broken")
    plant.put(22, b"{broken too")

    plant.run()

    assert Reading.objects.count() == 20
    assert QuarantinedMessage.objects.count() == 1
    assert sorted(plant.acknowledged) == list(range(1, 23))
    assert plant.feed.counters == (21, 20, 0, 1, 0)
    assert plant.on_disk() == [21]
    assert len(plant.tries) <= 2 * 5 + 2


def test_a_value_that_neither_readings_nor_quarantine_take_ends_no_worker(plant):
    refuse("telemetry_reading", f"NEW.value = {POISON}")
    refuse("telemetry_quarantinedmessage", "true")
    plant.put_values(20, 11)

    plant.run()

    assert Reading.objects.count() == 19
    assert sorted(plant.acknowledged) == list(range(1, 21))
    assert plant.feed.counters == (19, 19, 0, 0, 0)
    assert plant.on_disk() == [11]


def test_a_refused_window_of_deliveries_costs_no_endless_loop(plant):
    """No message is to blame, so each ends on disk, acknowledged once."""
    refuse("sites_connectionstats", "true")
    plant.put_values(5)

    plant.run()

    assert Reading.objects.count() == 0
    assert sorted(plant.acknowledged) == [1, 2, 3, 4, 5]
    assert plant.on_disk() == [1, 2, 3, 4, 5]


def test_what_stays_on_disk_for_good_is_in_the_books_as_dropped(plant, north):
    refuse("telemetry_quarantinedmessage", "true")
    plant.put_values(4)
    plant.put(5, b"{broken")
    plant.run()
    later = Plant(north, plant.folder)
    later.writer._spool.open()

    for _ in range(10):
        later.writer._drain()
    later.writer._spool.close()

    assert later.writer._spool.load.messages == 0
    assert plant.on_disk() == [5]
    assert plant.feed.counters == (5, 4, 0, 0, 1)
