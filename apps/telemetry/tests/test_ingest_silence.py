"""Storing a batch talks to the database and to nobody else.

Redis may refuse, or hang for seconds: leases would run out meanwhile, and a browser
that fetches what it was told would find the old row.
"""

from __future__ import annotations

import threading

import pytest

from apps.devices.models import Presence
from apps.telemetry.facts import Output, Unclaimed
from apps.telemetry.tests.batches import BEHIND, GATEWAY, MONSTRO, Feed


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def test_storing_a_batch_asks_nothing_of_redis(feed, monkeypatch):
    asked: list[object] = []

    def note(_connection: object, command: object, **_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            asked.append(command)
        message = "no Redis here"
        raise ConnectionError(message)

    for name in ("send_packed_command", "connect"):
        monkeypatch.setattr(f"redis.connection.AbstractConnection.{name}", note)

    feed.write(
        feed.data(1, 2),
        feed.data("text", device=BEHIND),
        feed.heartbeat(BEHIND, interval_s=10),
        feed.status(online=False, device=GATEWAY),
        feed.entry(Output(MONSTRO)),
        feed.entry(Unclaimed()),
        feed.bad(),
    )
    feed.write(feed.data(3), feed.status(online=False))

    assert asked == []
    assert feed.sensor.datalogger.presence == Presence.OFFLINE
