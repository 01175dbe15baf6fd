"""GET /metrics: a valid format, right numbers, nothing for strangers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.alerts.models import Alert
from apps.core import vitals
from apps.core.redis import RedisError, client
from apps.core.tests.clients import client_of, is_error
from apps.devices.models import Gateway
from apps.sites import pulse, reports
from apps.sites.models import (
    ConnectionStats,
    MqttConnection,
    Status,
    SuspectedGap,
)
from apps.sites.services import site_create
from apps.sites.tests.builders import report_on, running
from apps.telemetry.models import QuarantinedMessage
from workers.metrics import WorkerMetrics

pytestmark = pytest.mark.django_db
TOKEN = "canary-metrics-token"
NODE = "mqtt-test@here"


@pytest.fixture(autouse=True)
def _no_old_records():
    """The Redis of the tests is shared: records in here have names of their own."""
    yield
    client().zrem("guardiano:vitals", f"worker {NODE}", "web web-test@here")


@pytest.fixture
def local() -> Client:
    return Client()  # REMOTE_ADDR is 127.0.0.1


def samples(answer: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the value of each series; raises if the text is not in the format."""
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: dict, name: str, **labels: str) -> float:
    result: float = found["guardiano_" + name, tuple(sorted(labels.items()))]
    return result


def worker_says(node: str = NODE) -> WorkerMetrics:
    metrics = WorkerMetrics()
    for seconds in (0.004, 0.005, 0.006, 99.0):
        metrics.committed_after(seconds)
    vitals.say(
        vitals.WORKER,
        node,
        metrics.record(
            {0: 5},
            inbox_messages=7,
            inbox_bytes=8_000,
            spool={"messages": 9, "bytes": 99, "oldest_s": 1.5, "full": True},
        ),
    )
    return metrics


# -- what it says --------------------------------------------------------------


def test_it_says_how_everything_is(local, north, hidden):
    row = running(north)
    MqttConnection.objects.filter(site=hidden).update(status=Status.ERROR)
    ConnectionStats.objects.filter(connection=row).update(
        received=10, stored=6, duplicate=2, quarantined=1, dropped=1,
        last_message_at=timezone.now(),
    )  # fmt: skip
    reports.store([report_on(row, counters={"in_flight": 4, "spooled": 3})])
    SuspectedGap.objects.create(
        connection=row, began_at=timezone.now(), ended_at=timezone.now(), cause="qos_0"
    )
    Gateway.objects.create(site=north, number="1", presence="online")
    QuarantinedMessage.objects.create(
        site=north, topic="x", payload=b"", payload_size=0, qos=1, retain=False,
        reason="json_invalid",
    )  # fmt: skip
    now = timezone.now()
    Alert.objects.create(
        kind="gateway", site=north, subject="g", opened_at=now, confirmed_at=now
    )
    Alert.objects.create(kind="connection", site=north, subject="w", opened_at=now)
    worker_says()
    vitals.say(vitals.WEB, "web-test@here", {"sse_clients": 3})
    pulse.note()

    found = samples(local.get("/metrics"))

    site = str(north.pk)
    assert value(found, "connections", status="connected") == 1
    assert value(found, "connections", status="error") == 1
    assert value(found, "connections_enabled") == 1
    for name, count in (("received", 10), ("stored", 6), ("duplicate", 2)):
        assert value(found, f"messages_{name}_total", site=site) == count
    assert value(found, "messages_quarantined_total", site=site) == 1
    assert value(found, "messages_dropped_total", site=site) == 1
    assert value(found, "messages_unexplained", site=site) == 0
    assert value(found, "messages_in_flight", site=site) == 4
    assert value(found, "suspected_gaps", site=site) == 1
    assert value(found, "last_message_age_seconds", site=site) < 30
    assert value(found, "devices", kind="gateway", presence="online") == 1
    assert value(found, "devices", kind="datalogger", presence="offline") == 0
    assert value(found, "quarantine_messages") == 1
    assert value(found, "alerts_open", kind="gateway") == 1
    assert value(found, "alerts_open", kind="connection") == 0
    assert value(found, "reconcile_age_seconds") < 30
    assert value(found, "redis_up") == value(found, "database_up") == 1
    assert value(found, "worker_alive", node=NODE) == 1
    assert value(found, "inbox_messages", node=NODE) == 7
    assert value(found, "inbox_bytes", node=NODE) == 8_000
    assert value(found, "spool_messages", node=NODE) == 9
    assert value(found, "spool_oldest_seconds", node=NODE) == 1.5
    assert value(found, "spool_full", node=NODE) == 1
    assert value(found, "spool_drained_total", node=NODE) == 0
    assert value(found, "sse_clients", node="web-test@here") == 3
    assert any(name == "guardiano_build_info" for name, _ in found)
    alive = [v for (name, _), v in found.items() if name.endswith("shard_lease_alive")]
    assert sorted(alive) == [0, 1]


def test_a_histogram_is_cumulative_and_complete(local):
    worker_says()

    found = samples(local.get("/metrics"))

    name = "batch_commit_seconds"
    assert value(found, f"{name}_bucket", node=NODE, le="0.005") == 2
    assert value(found, f"{name}_bucket", node=NODE, le="0.01") == 3
    assert value(found, f"{name}_bucket", node=NODE, le="15.0") == 3
    assert value(found, f"{name}_bucket", node=NODE, le="+Inf") == 4
    assert value(found, f"{name}_count", node=NODE) == 4
    assert value(found, f"{name}_sum", node=NODE) == pytest.approx(99.015)


def test_every_reason_of_a_drop_is_there_from_the_start(local):
    worker_says()

    found = samples(local.get("/metrics"))

    name = "connection_drops_total"
    assert value(found, name, node=NODE, reason="lost") == 0
    assert value(found, name, node=NODE, reason="duplicate_client_id") == 0


def test_a_worker_that_fell_silent_shows(local):
    worker_says()
    client().delete(f"guardiano:vitals:{NODE}")

    found = samples(local.get("/metrics"))

    assert value(found, "worker_alive", node=NODE) == 0
    assert ("guardiano_inbox_messages", (("node", NODE),)) not in found


def test_a_record_that_is_no_record_counts_as_silence(local):
    worker_says()
    for text in ("{", "[]", '"x"'):
        client().set(f"guardiano:vitals:{NODE}", text, ex=20)

        assert value(samples(local.get("/metrics")), "worker_alive", node=NODE) == 0


def test_names_from_outside_cannot_break_the_format(local, north):
    north.name = 'x"} 1\nguardiano_evil 1\n# '
    north.code = "c"
    north.save()
    node = 'n"} 9\nguardiano_evil{a="\\'
    worker_says(node)
    try:
        found = samples(local.get("/metrics"))
    finally:
        vitals.forget(vitals.WORKER, node)

    assert not [name for name, _ in found if "evil" in name]
    assert value(found, "worker_alive", node=node) == 1


def test_without_redis_the_databases_part_is_served(local, north, monkeypatch):
    running(north)

    def away(*_: object) -> None:
        raise RedisError

    monkeypatch.setattr(vitals, "client", away)
    monkeypatch.setattr(pulse, "client", away)
    monkeypatch.setattr("apps.sites.reports.client", away)

    found = samples(local.get("/metrics"))

    assert value(found, "redis_up") == 0
    assert value(found, "connections", status="connected") == 1
    assert value(found, "database_up") == 1
    assert not [name for name, _ in found if "reconcile" in name]


def test_without_the_database_the_processes_part_is_served(local, monkeypatch):
    worker_says()

    def away(*_: object, **__: object) -> None:
        message = "refused"
        raise OperationalError(message)

    monkeypatch.setattr("apps.sites.metrics.standings", away)

    found = samples(local.get("/metrics"))

    assert value(found, "database_up") == 0
    assert value(found, "worker_alive", node=NODE) == 1


def test_it_is_cheap_with_300_sites_and_no_label_grows_beyond_sites(
    local, django_assert_max_num_queries, monkeypatch
):
    for number in range(300):
        row = site_create(name=f"Site {number}").connection
        ConnectionStats.objects.filter(connection=row).update(
            received=1, last_message_at=timezone.now()
        )
    local.get("/metrics")

    times = []
    for _ in range(5):
        started = time.perf_counter()
        with django_assert_max_num_queries(12):
            answer = local.get("/metrics")
        times.append(time.perf_counter() - started)

    assert min(times) < 0.25  # 0.04 s on a quiet machine
    found = samples(answer)
    labels = {name for _, pairs in found for name, _ in pairs}
    assert labels <= {
        "site", "status", "node", "reason", "le", "shard", "kind", "presence",
        "version", "python", "instance",
    }  # fmt: skip
    sites = [v for (n, _), v in found.items() if n == "guardiano_messages_stored_total"]
    assert len(sites) == 300

    monkeypatch.setattr("apps.sites.metrics.MOST_SITES", 10)
    found = samples(local.get("/metrics"))
    assert value(found, "messages_received_total", site="others") == 290


# -- who may look --------------------------------------------------------------


def test_a_process_of_this_machine_may_look(local):
    assert local.get("/metrics").status_code == 200
    assert local.head("/metrics").status_code == 200
    assert local.get("/metrics", REMOTE_ADDR="::1").status_code == 200
    assert local.get("/metrics", REMOTE_ADDR="::ffff:127.0.0.1").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "localhost"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "127.0.0.1"},
    ],
)
def test_what_a_proxy_passes_on_is_not_local(local, headers):
    assert local.get("/metrics", headers=headers).status_code == 401


@pytest.mark.parametrize("address", ["10.0.0.7", "::ffff:10.0.0.7", "", "unix"])
def test_a_stranger_gets_401(local, address):
    answer = local.get("/metrics", REMOTE_ADDR=address)

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert is_error(answer.json())


@pytest.mark.parametrize(
    "given",
    ["Bearer wrong", "Bearer", "Bearer \xe9\xe9", "Basic Y2FuYXJ5", f"Token {TOKEN}"],
)
def test_a_strangers_token_gets_401_also_from_here(local, settings, given):
    settings.METRICS_TOKEN = TOKEN

    assert local.get("/metrics").status_code == 401
    answer = local.get("/metrics", headers={"authorization": given})

    assert answer.status_code == 401
    assert TOKEN not in answer.content.decode()


def test_an_empty_token_is_no_key(local, settings):
    settings.METRICS_TOKEN = ""

    answer = local.get(
        "/metrics", REMOTE_ADDR="10.0.0.7", headers={"authorization": "Bearer "}
    )

    assert answer.status_code == 401


def test_the_token_opens_from_anywhere(local, settings):
    settings.METRICS_TOKEN = TOKEN

    answer = local.get(
        "/metrics", REMOTE_ADDR="10.0.0.7", headers={"authorization": f"Bearer {TOKEN}"}
    )

    assert answer.status_code == 200


def test_users_get_403_and_superusers_the_metrics(viewer, superuser, settings):
    settings.METRICS_TOKEN = TOKEN
    far: Any = {"REMOTE_ADDR": "10.0.0.7"}

    statuses = [
        client_of(u).get("/metrics", **far).status_code for u in (viewer, superuser)
    ]
    browser = Client()
    browser.force_login(superuser)

    assert statuses == [403, 200]
    assert browser.get("/metrics", **far).status_code == 200


def test_it_is_for_reading(local):
    assert local.post("/metrics").status_code == 405


def test_the_version_is_the_projects(settings):
    source = (settings.BASE_DIR / "pyproject.toml").read_text("utf-8")

    assert f'version = "{settings.VERSION}"' in source
