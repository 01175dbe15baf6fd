"""What is said about a connection is what is true now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings

from apps.core.redis import RedisError, report_key
from apps.core.redis import client as redis
from apps.core.shards import shard_of
from apps.core.tests.clients import client_of
from apps.sites import leases, reports
from apps.sites.models import ConnectionStats, MqttConnection, Site, SiteMember
from apps.sites.services import connection_start, connection_stop, site_create
from apps.sites.tests.builders import (
    WORKER,
    configured,
    own_shard,
    report_on,
    running,
)

AT = datetime(2026, 11, 21, 10, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nobody_has_reported_yet(db):
    yield
    ids = MqttConnection.objects.values_list("pk", flat=True)
    if ids:
        redis().delete(*(report_key(pk) for pk in ids))


def status_of(user, site):
    return client_of(user).get(f"/api/v1/mqtt/sites/{site.pk}/status/").json()


def lose_the_worker(site: Site) -> None:
    shard = shard_of(site.pk, settings.MQTT_SHARDS)
    leases.release(shard, WORKER, leases.states()[shard].epoch)


def test_it_has_every_field_of_the_contract(viewer, north):
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(
        last_connected_at=AT,
        last_heartbeat_at=AT.replace(microsecond=0),
        status_changed_at=AT,
    )
    ConnectionStats.objects.filter(connection=row).update(
        received=9, stored=8, duplicate=1, last_message_at=AT
    )

    assert status_of(viewer, north) == {
        "connection_id": row.pk,
        "site_id": north.pk,
        "site_name": "North",
        "is_enabled": True,
        "status": "connected",
        "broker_host": "broker.example.com",
        "broker_port": 1883,
        "last_connected_at": "2026-11-21T10:00:00.250000Z",
        "last_heartbeat_at": "2026-11-21T10:00:00Z",
        "connection_errors": 0,
        "error_message": "",
        "handler_running": True,
        "handler_connected": True,
        "retry_count": 0,
        "subscribed_topics": 1,
        "topics_list": [f"{north.code}/gateway/+/heartbeat"],
        "reason": "",
        "next_retry_at": None,
        "session_present": None,
        "lowered_topics": [],
        "shard": shard_of(north.pk, settings.MQTT_SHARDS),
        "owner": WORKER,
        "last_message_at": "2026-11-21T10:00:00.250000Z",
        "counters": {
            "received": 9,
            "stored": 8,
            "duplicate": 1,
            "quarantined": 0,
            "dropped": 0,
            "unexplained": 0,
        },
        "last_gap": None,
        "status_changed_at": "2026-11-21T10:00:00.250000Z",
        "can_control": False,
    }


def test_it_never_tells_the_login_at_the_broker(viewer, north):
    running(north)
    MqttConnection.objects.update(username="CANARY-user", password_encrypted="x")

    assert not {"username", "password"} & status_of(viewer, north).keys()
    assert "CANARY" not in str(status_of(viewer, north))


def test_a_site_that_was_never_configured_is_disconnected(viewer, north):
    body = status_of(viewer, north)

    assert (body["status"], body["reason"], body["owner"]) == ("disconnected", "", "")
    assert (body["handler_running"], body["topics_list"]) == (False, [])


def test_without_a_worker_an_enabled_connection_is_lost_at_once(viewer, north):
    running(north)
    lose_the_worker(north)

    body = status_of(viewer, north)

    assert MqttConnection.objects.get(site=north).status == "connected"
    assert (body["status"], body["reason"]) == ("error", "worker_lost")
    assert (body["handler_running"], body["handler_connected"]) == (False, False)
    assert (body["owner"], body["subscribed_topics"]) == ("", 0)


def test_a_report_of_a_dead_worker_proves_nothing(viewer, north):
    row = running(north)
    reports.store([report_on(row)])
    lose_the_worker(north)

    body = status_of(viewer, north)

    assert (body["status"], body["handler_running"]) == ("error", False)


def test_a_new_owner_that_has_not_spoken_yet_is_not_connected(viewer, north):
    running(north)
    lose_the_worker(north)
    own_shard(north)

    body = status_of(viewer, north)

    assert (body["status"], body["reason"]) == ("connecting", "")
    assert (body["handler_running"], body["handler_connected"]) == (False, False)


def test_the_owners_report_says_what_the_row_does_not_know_yet(viewer, north):
    row = running(north)
    said = report_on(
        row,
        at=AT,
        status="error",
        reason="lost",
        detail="connection reset",
        retry_count=3,
        next_retry_at=AT + timedelta(seconds=40),
        errors=7,
        last_message_at=AT,
        counters={"in_flight": 2, "stored": 99},
    )
    MqttConnection.objects.update(last_heartbeat_at=AT - timedelta(seconds=5))
    reports.store([said])

    body = status_of(viewer, north)

    assert (body["status"], body["reason"]) == ("error", "lost")
    assert body["error_message"] == "connection reset"
    assert (body["retry_count"], body["connection_errors"]) == (3, 7)
    assert body["next_retry_at"] == "2026-11-21T10:00:40.250000Z"
    assert body["last_heartbeat_at"] == "2026-11-21T10:00:00.250000Z"
    assert body["last_message_at"] == "2026-11-21T10:00:00.250000Z"
    assert (body["handler_running"], body["handler_connected"]) == (True, False)
    assert body["topics_list"] == []
    assert body["counters"] == {
        "received": 2,  # what is in flight came in, too
        "stored": 0,  # what was committed, not what the worker believes
        "duplicate": 0,
        "quarantined": 0,
        "dropped": 0,
        "in_flight": 2,
        "unexplained": 0,
    }


def test_a_report_about_older_settings_does_not_undo_a_start(viewer, north):
    row = running(north)
    reports.store([report_on(row, seq=99)])
    connection_start(north)

    body = status_of(viewer, north)

    assert (body["status"], body["handler_connected"]) == ("connecting", False)
    assert body["handler_running"] is True


def test_a_stop_is_shown_as_under_way_while_the_worker_holds_on(viewer, north):
    row = running(north)
    reports.store([report_on(row, seq=99)])
    connection_stop(north)

    body = status_of(viewer, north)

    assert (body["status"], body["is_enabled"]) == ("disabled", False)
    assert (body["handler_running"], body["handler_connected"]) == (True, False)


def test_without_redis_the_rows_answer(viewer, north, monkeypatch):
    running(north)

    def fail(_: object) -> None:
        raise RedisError

    monkeypatch.setattr(reports, "load", fail)

    assert status_of(viewer, north)["status"] == "connected"


def test_the_list_shows_all_of_them_and_who_may_control_which(
    operator, superuser, north, hidden
):
    site_create(name="Other")

    for user, wanted in (
        (operator, {"Hidden": True, "North": True, "Other": False}),
        (superuser, {"Hidden": True, "North": True, "Other": True}),
    ):
        body = client_of(user).get("/api/v1/mqtt/connections/").json()

        assert set(body) == {"connections", "count", "next", "previous"}
        assert body["count"] == 3
        shown = {row["site_name"]: row["can_control"] for row in body["connections"]}
        assert shown == wanted


def test_the_list_has_the_same_rows_as_the_site(viewer, north):
    running(north)

    body = client_of(viewer).get("/api/v1/mqtt/connections/").json()

    assert body["connections"] == [status_of(viewer, north)]


def test_the_list_can_be_read_in_pages(viewer, north, hidden):
    path = "/api/v1/mqtt/connections/"

    first = client_of(viewer).get(f"{path}?limit=1").json()
    second = client_of(viewer).get(first["next"]).json()

    names = [body["connections"][0]["site_name"] for body in (first, second)]
    assert names == ["Hidden", "North"]
    assert second["next"] is None


def test_its_query_count_does_not_grow(operator, django_assert_num_queries):
    client = client_of(operator)
    for place in range(41):
        if place in (10, 40):
            with django_assert_num_queries(5):  # user, rows, leases, roles, gaps
                body = client.get("/api/v1/mqtt/connections/").json()
            assert body["count"] == place
        site = site_create(name=f"Site {place}")
        SiteMember.objects.create(site=site, user=operator, role="operator")
        configured(site)


def test_events_tell_the_story_newest_first(viewer, north):
    running(north)
    connection_stop(north)

    body = client_of(viewer).get(f"/api/v1/mqtt/sites/{north.pk}/events/").json()

    assert set(body) == {"events", "count", "next", "previous"}
    story = [(event["old_status"], event["new_status"]) for event in body["events"]]
    assert story == [
        ("connected", "disabled"),
        ("connecting", "connected"),
        ("disconnected", "connecting"),
    ]
    assert set(body["events"][0]) == {
        "at",
        "old_status",
        "new_status",
        "reason",
        "detail",
    }
    assert body["events"][0]["at"].endswith("Z")


def test_events_of_another_site_are_not_among_them(viewer, north, hidden):
    running(hidden)

    body = client_of(viewer).get(f"/api/v1/mqtt/sites/{north.pk}/events/").json()

    assert body["events"] == []
