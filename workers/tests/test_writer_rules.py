"""A running writer, the real database, and a mapping made meanwhile."""

from __future__ import annotations

import threading
import time
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from apps.telemetry.mappings import mapping_create
from apps.telemetry.models import QuarantinedMessage, Reading
from apps.telemetry.replay import replay
from apps.telemetry.tests.batches import Feed
from workers.inbox import Inbox
from workers.reach import Prober, Reach
from workers.spool import Spool
from workers.standing import Unquestioned
from workers.writer import Context, Writer

WITHIN_S = 20.0  # two seconds by rights; the machine may be busy


def wait_for(count: int, model: type[Reading | QuarantinedMessage]) -> float:
    began = time.monotonic()
    while model.objects.count() < count:
        assert time.monotonic() - began < WITHIN_S
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.django_db(transaction=True)
def test_a_mapping_is_used_without_a_restart_and_a_replay_adds_the_rest(
    north, tmp_path
):
    feed, inbox = Feed(north), Inbox()
    topic = f"{north.code}/datalogger/monstro/15/data".encode()
    writer = Writer(
        inbox,
        {feed.shard: feed.epoch},
        {feed.connection.pk: Context(north.code, ZoneInfo("UTC"))},
        acknowledge=lambda _: None,
        committed=lambda _: None,
        fenced=lambda _: None,
        timed=lambda _: None,
        shown=lambda _: None,
        spool=Spool(tmp_path, "test", "mqtt0@here", 1_048_576),
        reach=Reach(Prober()),
        standing=Unquestioned(),
        is_over=lambda _: False,
        is_void=lambda _: False,
    )
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        inbox.put(feed.message(b'{"v": 7, "t": 1}', topic=topic))
        wait_for(1, QuarantinedMessage)

        mapping_create(north, version=7, values=[{"path": "$.t", "key": "t"}])
        time.sleep(1.2)  # the rules are looked at once a second
        inbox.put(feed.message(b'{"v": 7, "t": 2}', topic=topic))
        wait_for(1, Reading)
        result = replay(north)
    finally:
        writer.stop()
        thread.join()
        stored = list(Reading.objects.order_by("value").values_list("value", flat=True))
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM telemetry_reading")

    assert (result.replayed, stored) == (1, [1.0, 2.0])
    assert feed.counters == (2, 2, 0, 0, 0)
