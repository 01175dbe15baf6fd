"""No silence is noticed while what was heard waits on a worker's disk."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from apps.core import vitals
from apps.core.redis import RedisError
from apps.core.shards import shard_of
from apps.devices import waiting
from apps.devices.models import Datalogger, Presence
from apps.devices.services import check_presence
from apps.sites.models import MqttConnection, ShardLease, Site
from apps.sites.tests.builders import running

pytestmark = pytest.mark.django_db

NODE = "mqtt0@here"


@pytest.fixture
def silent(north: Site) -> Datalogger:
    """A datalogger whose deadline has passed, on a link that is up."""
    row = running(north)
    long_ago = timezone.now() - timedelta(hours=1)
    MqttConnection.objects.filter(pk=row.pk).update(last_connected_at=long_ago)
    ShardLease.objects.update_or_create(
        shard=shard_of(north.pk, settings.MQTT_SHARDS),
        defaults={
            "owner": f"{NODE}/1",
            "epoch": 1,
            "expires_at": timezone.now() + timedelta(hours=1),
        },
    )
    return Datalogger.objects.create(
        site=north,
        type="a",
        number="1",
        presence=Presence.ONLINE,
        presence_since=long_ago,
        last_seen_at=long_ago,
        offline_after=timezone.now() - timedelta(seconds=5),
    )


def worker_says(monkeypatch, node: str = NODE, messages: int = 3) -> None:
    said = {"shards": [0, 1], "spool": {"messages": messages}}
    found = [vitals.Vitals(vitals.WORKER, node, said)]
    monkeypatch.setattr(vitals, "load", lambda: found)


def presence_of(device: Datalogger) -> str:
    check_presence(timezone.now())
    device.refresh_from_db()
    return device.presence


def test_the_owners_disk_has_messages(silent, monkeypatch):
    worker_says(monkeypatch)
    assert presence_of(silent) == "online"

    worker_says(monkeypatch, messages=0)
    assert presence_of(silent) == "offline"


def test_what_waits_with_a_worker_that_owns_nothing_is_no_reason(silent, monkeypatch):
    worker_says(monkeypatch, node="mqtt7@elsewhere")

    assert presence_of(silent) == "offline"


def test_a_worker_of_before_and_redis_away_hold_nothing_up(silent, monkeypatch):
    monkeypatch.setattr(
        vitals, "load", lambda: [vitals.Vitals(vitals.WORKER, NODE, {"shards": [0]})]
    )
    assert waiting.waiting_shards() == []

    def away() -> list[vitals.Vitals]:
        raise RedisError

    monkeypatch.setattr(vitals, "load", away)
    assert presence_of(silent) == "offline"
