"""Start and stop: what is wanted is written down, and the owner is told at once."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import pytest
from celery import current_app as app
from django.conf import settings
from django.db import connection, transaction

from apps.core.shards import queue_name, shard_of
from apps.sites import commands
from apps.sites.models import ConnectionEvent, MqttConnection, Site, Status
from apps.sites.recording import record
from apps.sites.services import (
    connection_of,
    connection_start,
    connection_stop,
    site_delete,
)
from apps.sites.tests.builders import configured, report_on, running
from apps.sites.tests.sent import Sent, catch_commands


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return catch_commands(monkeypatch)


def test_a_start_is_connecting_until_a_worker_says_more(north):
    row = configured(north)
    generation = row.generation

    connection_start(north)

    row.refresh_from_db()
    assert row.is_enabled
    assert row.status == Status.CONNECTING
    assert row.generation > generation


def test_a_start_without_a_broker_is_refused_and_changes_nothing(north):
    from apps.core.errors import DomainError

    with pytest.raises(DomainError) as caught:
        connection_start(north)

    assert caught.value.code == "not_configured"
    assert not connection_of(north).is_enabled


def test_a_stop_is_disabled_until_a_worker_says_that_it_is_done(north):
    row = running(north)

    connection_stop(north)

    row.refresh_from_db()
    assert not row.is_enabled
    assert row.status == Status.DISABLED


def test_a_stop_of_what_is_at_rest_needs_no_worker(north):
    row = configured(north)

    connection_stop(north)

    row.refresh_from_db()
    assert row.status == Status.DISCONNECTED


def test_a_second_start_begins_anew(north):
    row = running(north)
    generation = row.generation

    connection_start(north)

    row.refresh_from_db()
    assert row.status == Status.CONNECTING
    assert row.generation > generation


def test_every_change_is_one_event_with_its_old_and_new_status(north):
    row = running(north)
    connection_stop(north)

    events = ConnectionEvent.objects.filter(connection=row).order_by("id")

    assert [(e.old_status, e.new_status) for e in events] == [
        ("disconnected", "connecting"),
        ("connecting", "connected"),
        ("connected", "disabled"),
    ]


# -- the command ---------------------------------------------------------------


def test_the_owner_is_told_when_the_row_is_committed_and_not_before(
    north, sent, django_capture_on_commit_callbacks
):
    configured(north)

    with django_capture_on_commit_callbacks(execute=True):
        connection_start(north)
        assert sent.commands == []

    queue = queue_name(shard_of(north.pk, settings.MQTT_SHARDS))
    assert sent.commands == [("ensure", north.pk, queue)]


def test_a_stop_sends_a_drop(north, sent, django_capture_on_commit_callbacks):
    running(north)

    with django_capture_on_commit_callbacks(execute=True):
        connection_stop(north)

    assert sent.names == ["check_site_presence", "drop"]


def test_a_command_carries_ids_only_and_expires_with_the_next_reconcile(sent):
    commands.send_ensure(7)

    assert sent.options == {
        "args": [7],
        "queue": queue_name(shard_of(7, settings.MQTT_SHARDS)),
        "expires": settings.RECONCILE_INTERVAL,
    }


def test_a_removed_site_is_dropped(north, sent, django_capture_on_commit_callbacks):
    site_id = north.pk

    with django_capture_on_commit_callbacks(execute=True):
        site_delete(north)

    assert sent.commands == [
        ("drop", site_id, queue_name(shard_of(site_id, settings.MQTT_SHARDS)))
    ]


# -- Redis is away -------------------------------------------------------------


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch):
    """Point Celery and the events at a port where nobody listens."""
    from apps.core import redis

    nowhere = "redis://127.0.0.1:1/0"
    before = app.conf.broker_url
    monkeypatch.setattr(settings, "REDIS_URL", nowhere)
    redis.client.cache_clear()
    app.conf.broker_url = nowhere
    app.amqp._producer_pool, pool = None, app.pool
    app._pool = None
    yield
    app.conf.broker_url = before
    app.amqp._producer_pool = None
    app._pool = pool
    redis.client.cache_clear()


def test_a_start_is_answered_soon_and_kept_while_redis_is_away(
    north, no_redis, caplog, django_capture_on_commit_callbacks
):
    row = configured(north)

    started = time.monotonic()
    with (
        caplog.at_level(logging.WARNING),
        django_capture_on_commit_callbacks(execute=True),
    ):
        connection_start(north)

    assert time.monotonic() - started < 10
    row.refresh_from_db()
    assert row.is_enabled
    assert "command not sent" in caplog.text


def test_a_command_says_whether_redis_took_it(no_redis):
    assert commands.send_ensure(1) is False
    assert commands.send_drop(1) is False


# -- at the same time ----------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_start_waits_for_a_report_that_is_being_recorded(north, sent):
    """Else its event would tell of a status that is no longer there."""
    row = running(north)
    report = report_on(row, status=Status.ERROR, reason="lost")
    is_recorded, may_commit = threading.Event(), threading.Event()

    def recorder() -> None:
        with transaction.atomic():
            record(report)
            is_recorded.set()
            may_commit.wait(10)
        connection.close()

    def starter() -> None:
        connection_start(Site.objects.get(pk=north.pk))
        connection.close()

    threads = [threading.Thread(target=recorder), threading.Thread(target=starter)]
    threads[0].start()
    assert is_recorded.wait(10)
    threads[1].start()
    time.sleep(0.3)
    may_commit.set()
    for thread in threads:
        thread.join(timeout=10)

    statuses = [
        (event.old_status, event.new_status)
        for event in ConnectionEvent.objects.filter(connection=row).order_by("id")
    ]
    assert statuses[-2:] == [("connected", "error"), ("error", "connecting")]
    row.refresh_from_db()
    assert row.status == Status.CONNECTING


@pytest.mark.django_db(transaction=True)
def test_many_starts_and_stops_at_once_leave_one_generation_each(north, sent):
    row = configured(north)

    def press(action) -> None:
        action(Site.objects.get(pk=north.pk))
        connection.close()

    threads = [
        threading.Thread(target=press, args=(action,))
        for action in [connection_start, connection_stop] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    present = MqttConnection.objects.get(pk=row.pk)
    assert present.generation == row.generation + 8
    chain = [
        (event.old_status, event.new_status)
        for event in ConnectionEvent.objects.filter(connection=row).order_by("id")
    ]
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(chain))
    assert chain[-1][1] == present.status
    assert present.status == (
        Status.CONNECTING if present.is_enabled else Status.DISABLED
    )
