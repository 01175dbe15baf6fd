"""Health: for probes, without a login, even when parts are away."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from apps.core.redis import RedisError
from apps.sites import health as health_module
from apps.sites.services import connection_stop
from apps.sites.tests.builders import configured, own_shard, running
from apps.sites.tests.test_api_status import lose_the_worker

HEALTH = "/api/v1/mqtt/health/"


def body_with(status, total, enabled, healthy, *, running=True) -> dict[str, Any]:
    return {
        "status": status,
        "service": {"running": running, "instance_id": "bfg_back"},
        "connections": {
            "total": total,
            "enabled": enabled,
            "healthy": healthy,
            "unhealthy": enabled - healthy,
        },
    }


@pytest.fixture(autouse=True)
def _instance(settings):
    settings.MQTT_INSTANCE_ID = "bfg_back"


def away(*_args: object, **_kwargs: object) -> None:
    message = "connection to server at 10.0.0.5 refused"
    raise OperationalError(message)


def test_it_is_healthy_when_every_enabled_connection_is_connected(north, hidden):
    running(north)
    configured(hidden)

    answer = Client().get(HEALTH)

    assert answer.status_code == 200
    assert answer.json() == body_with("healthy", 2, 1, 1)


def test_it_is_healthy_with_a_worker_and_nothing_to_do(north):
    own_shard(north)

    answer = Client().get(HEALTH)

    assert answer.status_code == 200
    assert answer.json() == body_with("healthy", 1, 0, 0)


def test_it_is_unhealthy_without_a_worker(north):
    answer = Client().get(HEALTH)

    assert answer.status_code == 503
    assert answer.json() == body_with("unhealthy", 1, 0, 0, running=False)


def test_a_connection_whose_worker_died_is_unhealthy_whatever_its_row_says(north):
    running(north)
    lose_the_worker(north)

    answer = Client().get(HEALTH)

    assert answer.status_code == 503
    assert answer.json() == body_with("unhealthy", 1, 1, 0, running=False)


def test_a_lease_that_ran_out_is_no_worker(north):
    own_shard(north, ttl_s=-1)

    assert Client().get(HEALTH).status_code == 503


def test_one_connection_in_trouble_makes_it_unhealthy(north, hidden):
    running(north)
    row = running(hidden)
    row.status = "error"
    row.save()

    assert Client().get(HEALTH).json() == body_with("unhealthy", 2, 2, 1)


def test_a_stopped_connection_is_nobodys_trouble(north, hidden):
    running(north)
    running(hidden)
    connection_stop(hidden)

    assert Client().get(HEALTH).json() == body_with("healthy", 2, 1, 1)


def test_it_answers_without_the_database(monkeypatch):
    monkeypatch.setattr("apps.sites.leases.states", away)

    answer = Client().get(HEALTH)

    assert answer.status_code == 503
    assert answer.json() == body_with("unhealthy", 0, 0, 0, running=False)


def test_it_answers_without_redis(north, monkeypatch):
    running(north)

    def no_client() -> None:
        raise RedisError

    monkeypatch.setattr("apps.core.redis.client", no_client)

    assert Client().get(HEALTH).status_code == 200


def test_a_bad_token_does_not_keep_a_probe_out(north):
    own_shard(north)

    answer = Client().get(HEALTH, headers={"authorization": "Bearer x"})

    assert answer.status_code == 200


def test_its_query_count_is_constant(north, hidden, django_assert_num_queries):
    running(north)
    running(hidden)

    with django_assert_num_queries(2):
        Client().get(HEALTH)


def test_live_touches_nothing(django_assert_num_queries):
    answer = Client().get(f"{HEALTH}live/")  # the database is forbidden to this test

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_ready_names_its_checks(db):
    answer = Client().get(f"{HEALTH}ready/")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": True, "migrations": True, "redis": True},
    }


def test_ready_says_that_the_database_is_away(db, monkeypatch):
    monkeypatch.setattr(MigrationRecorder, "applied_migrations", away)

    answer = Client().get(f"{HEALTH}ready/")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unready",
        "checks": {"database": False, "migrations": False, "redis": True},
    }


def test_ready_says_that_a_migration_is_missing(db):
    MigrationRecorder.Migration.objects.filter(app="devices").delete()

    answer = Client().get(f"{HEALTH}ready/")

    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": True,
        "migrations": False,
        "redis": True,
    }


def test_ready_says_that_redis_is_away(db, monkeypatch):
    def no_client() -> None:
        raise RedisError

    monkeypatch.setattr(health_module, "client", no_client)

    answer = Client().get(f"{HEALTH}ready/")

    assert answer.status_code == 503
    assert answer.json()["checks"]["redis"] is False
