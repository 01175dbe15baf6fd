"""The numbers that tell a batch that was stored from one that was not."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError

from apps.telemetry import spoolmarks
from apps.telemetry.models import QuarantinedMessage, SpoolMark
from apps.telemetry.spoolmarks import AlreadyWrittenError, DrainMark, LiveMark
from apps.telemetry.tests.batches import Feed, values

pytestmark = pytest.mark.django_db


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


@pytest.mark.parametrize(
    "make",
    [LiveMark, lambda spool, number: DrainMark(spool, number, 0)],
    ids=["live", "drained"],
)
def test_a_number_is_set_once_and_never_goes_back(make):
    spool = uuid4()
    make(spool, 5).set()
    make(spool, 6).set()

    for number in (6, 5):
        with pytest.raises(AlreadyWrittenError):
            make(spool, number).set()


def test_live_and_drained_numbers_know_nothing_of_each_other():
    spool = uuid4()

    LiveMark(spool, 9).set()
    DrainMark(spool, 3, 7).set()

    mark = spoolmarks.open_mark(spool, "mqtt0@here", 7)
    assert (mark.live, mark.drained) == (9, 3)


def test_a_mark_that_a_restored_database_lost_is_not_one_that_is_ahead():
    LiveMark(uuid4(), 1_000).set()

    assert SpoolMark.objects.get().live == 1_000


def test_the_same_batch_again_changes_nothing_at_all(feed):
    spool = uuid4()
    spoolmarks.open_mark(spool, "n", 0)
    batch = [feed.data(1), feed.bad()]
    feed.write(*batch, mark=LiveMark(spool, 1).set)

    with pytest.raises(AlreadyWrittenError):
        feed.write(*batch, mark=LiveMark(spool, 1).set)

    assert values() == [1]
    assert feed.counters == (2, 1, 0, 1, 0)
    assert QuarantinedMessage.objects.count() == 1


def test_a_batch_that_fails_leaves_no_mark(feed):
    spool = uuid4()

    @transaction.atomic
    def fail() -> None:
        LiveMark(spool, 1).set()
        raise KeyError

    with pytest.raises(KeyError):
        fail()

    feed.write(feed.data(1), mark=LiveMark(spool, 1).set)

    assert values() == [1]


@pytest.mark.django_db(transaction=True)
def test_whoever_asks_waits_for_a_try_that_is_still_alive():
    """A server that was frozen commits after we have given it up."""
    spool = uuid4()
    spoolmarks.open_mark(spool, "n", 0)
    is_set, leave = threading.Event(), threading.Event()

    def zombie() -> None:
        with transaction.atomic():
            LiveMark(spool, 1).set()
            is_set.set()
            leave.wait(20)
        connection.close()

    thread = threading.Thread(target=zombie)
    thread.start()
    is_set.wait(20)
    threading.Timer(0.5, leave.set).start()

    assert spoolmarks.open_mark(spool, "n", 0).live == 1
    thread.join()


def test_the_probe_changes_nothing_and_is_refused_by_a_read_only_database():
    spoolmarks.probe()

    @transaction.atomic
    def probe_read_only() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        spoolmarks.probe()

    with pytest.raises(DatabaseError, match="read-only"):
        probe_read_only()


def test_a_spool_is_known_from_its_first_meeting_until_it_is_forgotten():
    spool = uuid4()
    assert not spoolmarks.is_known(spool)

    spoolmarks.open_mark(spool, "n", 3)
    assert spoolmarks.is_known(spool)
    assert SpoolMark.objects.get().waiting == 3

    spoolmarks.forget(spool)
    assert not spoolmarks.is_known(spool)
