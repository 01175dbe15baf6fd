"""The reconcile: compares, acts, and may be repeated at any time."""

from __future__ import annotations

import logging
from dataclasses import replace
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from apps.core import redis
from apps.core.shards import shard_of
from apps.sites import leases, reports
from apps.sites.models import ConnectionEvent, MqttConnection, ShardLease, Status
from apps.sites.plan import Action
from apps.sites.recording import reconcile, record
from apps.sites.services import connection_start, connection_stop
from apps.sites.tasks import reconcile as reconcile_task
from apps.sites.tasks import record_reports as record_task
from apps.sites.tests.builders import configured, own_shard, report_on, running
from apps.sites.tests.sent import Sent, catch_commands


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return catch_commands(monkeypatch)


@pytest.fixture(autouse=True)
def _own_keys(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of earlier tests had the same ids."""
    prefix = f"test:{uuid4().hex}"
    monkeypatch.setattr(reports, "report_key", lambda number: f"{prefix}:{number}")


def lose_the_owner() -> None:
    """Let every lease expire."""
    ShardLease.objects.update(expires_at=timezone.now())


def test_a_running_connection_that_is_reported_is_left_alone(north, sent):
    row = running(north)
    reports.store([report_on(row)])

    assert reconcile() == {Action.NOTHING: 1}

    assert sent.commands == []


def test_a_connection_without_a_report_is_ensured(north, sent):
    running(north)

    assert reconcile() == {Action.ENSURE: 1}

    assert sent.names == ["ensure"]


def test_a_start_that_redis_lost_is_made_good(north, sent):
    configured(north)
    own_shard(north)
    connection_start(north)  # its command went nowhere

    reconcile()

    assert sent.names == ["ensure"]


def test_a_stop_that_redis_lost_is_made_good(north, sent):
    row = running(north)
    report = report_on(row)
    connection_stop(north)
    reports.store([report])

    assert reconcile() == {Action.DROP: 1}

    assert sent.names == ["drop"]


def test_a_dead_owner_is_said_once(north):
    row = running(north)
    lose_the_owner()

    assert reconcile() == {Action.MARK_LOST: 1}
    assert reconcile() == {Action.NOTHING: 1}

    row.refresh_from_db()
    assert (row.status, row.reason) == ("error", "worker_lost")
    events = ConnectionEvent.objects.filter(connection=row, reason="worker_lost")
    assert events.count() == 1


def test_a_dead_owners_last_report_does_not_make_it_alive(north):
    row = running(north)
    reports.store([report_on(row)])
    lose_the_owner()

    assert reconcile() == {Action.MARK_LOST: 1}


def test_a_worker_that_only_slept_is_believed_again(north):
    """It renews its lease and repeats its last report: nobody else took the shard."""
    row = running(north)
    reports.store([replace(report_on(row), seq=row.report_seq)])
    lose_the_owner()
    reconcile()
    lease = ShardLease.objects.get(shard=shard_of(north.pk, settings.MQTT_SHARDS))
    assert leases.renew(lease.shard, lease.owner, lease.epoch)

    assert reconcile() == {Action.RECORD: 1}

    row.refresh_from_db()
    assert (row.status, row.reason) == ("connected", "")
    assert reconcile() == {Action.NOTHING: 1}


def test_a_stopped_connection_of_a_dead_owner_comes_to_rest(north):
    row = running(north)
    connection_stop(north)
    lose_the_owner()

    assert reconcile() == {Action.MARK_STOPPED: 1}
    assert reconcile() == {Action.NOTHING: 1}

    row.refresh_from_db()
    assert (row.status, row.reason) == ("disconnected", "")


def test_a_new_owner_is_asked_for_what_the_old_one_had(north, sent):
    row = running(north)
    reports.store([report_on(row)])
    lose_the_owner()
    shard = shard_of(north.pk, settings.MQTT_SHARDS)
    assert leases.take(shard, "mqtt@there")

    assert reconcile() == {Action.ENSURE: 1}


def test_a_report_whose_recording_was_lost_is_recorded(north):
    row = running(north)
    reports.store([report_on(row, status=Status.ERROR, reason="lost")])

    assert reconcile() == {Action.RECORD: 1}

    row.refresh_from_db()
    assert (row.status, row.reason) == ("error", "lost")


def test_it_notes_that_a_quiet_connection_was_reported(north):
    row = running(north)
    later = timezone.now()
    reports.store([report_on(row, at=later)])

    reconcile()

    row.refresh_from_db()
    assert row.last_heartbeat_at == later


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "5",
        "[]",
        "{}",
        "{",
        '"x"',
        '{"at": "yesterday"}',
        '{"at": null, "next_retry_at": null, "connected_at": null, '
        '"last_message_at": null, "topics": null}',
        '{"at": 5, "next_retry_at": null, "connected_at": null, '
        '"last_message_at": null, "topics": []}',
    ],
)
def test_a_report_that_cannot_be_read_is_none(north, sent, text):
    row = running(north)
    redis.client().set(reports.report_key(row.pk), text, ex=20)

    assert reconcile() == {Action.ENSURE: 1}


def test_a_report_survives_its_journey_through_redis(north):
    row = running(north)
    now = timezone.now()
    report = report_on(
        row,
        detail="perché “no”\n",
        next_retry_at=now,
        connected_at=now,
        last_message_at=now,
        session_present=True,
        counters={"in_flight": 3},
    )

    reports.store([report])

    assert reports.load([row.pk]) == {row.pk: report}


def test_a_report_is_forgotten_when_nobody_renews_it(north):
    row = running(north)
    reports.store([report_on(row)])

    assert 0 < redis.client().ttl(reports.report_key(row.pk)) <= reports.REPORT_TTL_S


def test_nothing_is_asked_of_redis_for_no_connections():
    assert reports.load([]) == {}


def test_every_connection_is_looked_at_in_four_queries(
    north, hidden, sent, django_assert_num_queries
):
    for site in (north, hidden):
        reports.store([report_on(running(site))])

    with django_assert_num_queries(3):  # rows, leases, heartbeats
        assert reconcile() == {Action.NOTHING: 2}


# -- Redis is away -------------------------------------------------------------


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    redis.client.cache_clear()
    yield
    redis.client.cache_clear()


def test_without_redis_the_tasks_end_and_say_so(north, no_redis, caplog):
    """Ensuring everything would only fill a queue that nobody can read."""
    row = running(north)

    with caplog.at_level(logging.WARNING):
        reconcile_task()
        record_task([row.pk])

    assert "reconcile skipped" in caplog.text
    assert "reports not recorded" in caplog.text
    row.refresh_from_db()
    assert row.status == Status.CONNECTED


def test_without_redis_a_page_gets_no_reports(north, no_redis):
    assert reports.load_or_none([running(north).pk]) == {}


# -- a change between the look and the act -------------------------------------


def test_a_row_that_changed_since_the_look_is_not_marked(north, monkeypatch):
    row = running(north)
    lose_the_owner()
    states = leases.states

    def meanwhile():
        found = states()
        connection_start(north)
        return found

    monkeypatch.setattr(leases, "states", meanwhile)

    reconcile()

    row.refresh_from_db()
    assert row.status == Status.CONNECTING


def test_a_report_that_came_since_the_look_is_not_overwritten(north, monkeypatch):
    row = running(north)
    lose_the_owner()
    states = leases.states

    def meanwhile():
        found = states()
        record(replace(report_on(row, status=Status.ERROR, reason="auth"), epoch=9))
        return found

    monkeypatch.setattr(leases, "states", meanwhile)

    reconcile()

    assert MqttConnection.objects.get(pk=row.pk).reason == "auth"
