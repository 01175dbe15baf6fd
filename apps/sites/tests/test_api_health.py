"""Health: for probes, without a login, even when parts are away."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from apps.core.redis import RedisError, client, report_key
from apps.sites import health as health_module
from apps.sites import pulse, reports, tasks
from apps.sites.services import connection_stop
from apps.sites.tests.builders import configured, own_shard, report_on, running
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


@pytest.fixture
def reconciled(monkeypatch):
    """The reconcile ran three seconds ago."""
    monkeypatch.setattr(pulse, "age_s", lambda: 3.04)


def test_ready_names_its_checks(db, reconciled):
    answer = Client().get(f"{HEALTH}ready/")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": True, "migrations": True, "redis": True},
        "reconcile_age_seconds": 3.0,
        "warnings": [],
    }


@pytest.mark.parametrize(("age", "said"), [(None, None), (91.0, 91.0)])
def test_ready_warns_that_beat_is_dead_and_stays_ready(db, monkeypatch, age, said):
    monkeypatch.setattr(pulse, "age_s", lambda: age)

    answer = Client().get(f"{HEALTH}ready/")

    assert answer.status_code == 200
    assert answer.json()["reconcile_age_seconds"] == said
    [warning] = answer.json()["warnings"]
    assert "is beat running" in warning


def test_the_reconcile_notes_that_it_ran(db):
    tasks.reconcile()

    age = pulse.age_s()
    assert age is not None
    assert age < 60


def test_a_pulse_that_is_no_number_counts_as_none(monkeypatch):
    class Odd:
        def get(self, _: str) -> str:
            return "yesterday"

    monkeypatch.setattr(pulse, "client", Odd)

    assert pulse.age_s() is None


def test_what_the_worker_reports_counts_before_it_is_recorded(north):
    """With a dead default worker nobody writes it into the row."""
    row = running(north)
    reports.store([report_on(row, status="error", reason="lost")])
    try:
        assert Client().get(HEALTH).json() == body_with("unhealthy", 1, 1, 0)
    finally:
        client().delete(report_key(row.pk))


def test_ready_says_that_the_database_is_away(db, monkeypatch, reconciled):
    monkeypatch.setattr(MigrationRecorder, "applied_migrations", away)

    answer = Client().get(f"{HEALTH}ready/")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unready",
        "checks": {"database": False, "migrations": False, "redis": True},
        "reconcile_age_seconds": 3.0,
        "warnings": [],
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
