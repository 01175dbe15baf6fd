"""mqtt_status, check_health, start_mqtt_service: right, aligned, with exit codes."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError

from apps.core import vitals
from apps.core.redis import RedisError
from apps.sites import leases, overview, pulse
from apps.sites.models import ConnectionStats, MqttConnection
from apps.sites.services import site_create
from apps.sites.tables import span, table
from apps.sites.tests.builders import running
from apps.sites.tests.sent import catch_commands
from apps.sites.tests.test_api_status import lose_the_worker

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Neither commands nor workers: other processes share the Redis of the tests."""
    catch_commands(monkeypatch)
    monkeypatch.setattr(overview.vitals, "load", list)
    monkeypatch.setattr(pulse, "age_s", lambda: 3.0)


@pytest.fixture
def all_shards():
    for shard in range(settings.MQTT_SHARDS):
        leases.take(shard, f"mqtt{shard}@here/boot/1.2/ab", ttl_s=60)


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and output of a command."""
    out = StringIO()
    try:
        call_command(*arguments, stdout=out, no_color=True)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def away(*_: object, **__: object) -> None:
    message = "connection to server refused\nsecond line"
    raise OperationalError(message)


# -- mqtt_status ---------------------------------------------------------------


def test_a_healthy_system_ends_with_0(all_shards, north):
    row = running(north)
    ConnectionStats.objects.filter(connection=row).update(
        received=12_345, stored=12_000
    )

    code, text = run("mqtt_status")

    assert code == 0, text
    [line] = [line for line in text.splitlines() if line.startswith("North ")]
    assert line.split()[:4] == ["North", north.code, "connected", "-"]
    assert "12,345" in line
    assert text.rstrip().endswith("healthy")


def test_columns_are_aligned_whatever_the_names(all_shards, north):
    running(north)
    for name in ("日本の工場", "Città è", "a\tb\x1b[31m\n", "x" * 200, "e\u0301a"):
        site_create(name=name)

    _, text = run("mqtt_status")

    lines = text.split("\n\n")[0].splitlines()
    assert len(lines) == 7
    assert "\x1b" not in text
    assert "\t" not in text
    plain = [line for line in lines if line.isascii()]
    column = lines[0].index("CODE")
    assert all(line[column:].startswith(("CODE", "site_")) for line in plain)
    wide = next(line for line in lines if "日本" in line)
    assert wide.index("site_") == column - 5  # five letters of two columns each


def test_numbers_are_aligned_to_the_right():
    rows = [["a", "1"], ["b", "1,000"]]

    lines = [line for line, _ in table(("X", ">N"), rows, [False, True], empty="-")]

    assert lines == ["X      N", "a      1", "b  1,000"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m00s"), (3_725, "1h02m"), (90_000, "1d01h")],
)
def test_a_span_has_two_units_at_most(seconds, text):
    assert span(seconds) == text


def test_a_connection_in_trouble_ends_with_1_and_is_named(all_shards, north):
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(status="error", reason="refused")

    code, text = run("mqtt_status")

    assert code == 1
    assert f"trouble: {north.code} is not connected: error (refused)" in text


def test_a_dead_worker_ends_with_1_though_the_row_says_connected(north):
    running(north)
    lose_the_worker(north)

    code, text = run("mqtt_status")

    assert code == 1
    assert "worker_lost" in text
    assert "no worker serves shard" in text


def test_a_shard_without_a_worker_ends_with_1(north):
    code, text = run("mqtt_status")

    assert code == 1
    assert "trouble: no worker serves shard 1" in text


def test_a_stopped_connection_is_nobodys_trouble(all_shards, north):
    code, text = run("mqtt_status")

    assert code == 0
    assert "stopped" in text


def test_one_site_can_be_asked_for(all_shards, north, hidden):
    running(north)
    row = running(hidden)
    MqttConnection.objects.filter(pk=row.pk).update(status="error", reason="auth")

    assert run("mqtt_status", "--site", north.code)[0] == 0
    assert run("mqtt_status", "--site", str(hidden.pk))[0] == 1
    assert "Hidden" not in run("mqtt_status", "--site", north.code)[1]


@pytest.mark.parametrize("name", ["nowhere", "0", "9" * 40, "²", ""])
def test_a_site_that_is_none_ends_with_2_and_is_named(db, name):
    code, text = run("mqtt_status", "--site", name)

    assert code == 2
    assert repr(name) in text


def test_without_the_database_it_cannot_tell(monkeypatch):
    monkeypatch.setattr(overview, "connection_statuses", away)

    code, text = run("mqtt_status")

    assert code == 2
    assert text == (
        "cannot tell, the database does not answer: connection to server refused"
    )


def test_without_redis_it_says_what_the_database_knows(all_shards, north, monkeypatch):
    running(north)

    def no_redis(*_: object) -> None:
        raise RedisError

    monkeypatch.setattr(overview.vitals, "load", no_redis)
    monkeypatch.setattr(pulse, "age_s", no_redis)
    monkeypatch.setattr("apps.sites.reports.client", no_redis)

    code, text = run("mqtt_status")

    assert code == 0
    assert "warning: Redis is away" in text
    assert json.loads(run("mqtt_status", "--json")[1])["workers"] is None


def test_a_dead_beat_is_a_warning(all_shards, north, monkeypatch):
    monkeypatch.setattr(pulse, "age_s", lambda: 91.0)

    code, text = run("mqtt_status")

    assert code == 0
    assert "warning: the reconcile is late, it ran 91 s ago" in text


def test_workers_are_listed_with_what_they_serve(all_shards, north, monkeypatch):
    known = [
        vitals.Vitals(
            "worker",
            "mqtt0@a",
            {
                "shards": [0],
                "inbox_messages": 1_200,
                "spool": {"messages": 7_300, "oldest_s": 15.2, "full": True},
            },
        ),
        vitals.Vitals("worker", "mqtt0@b", {"shards": [], "inbox_messages": 0}),
        vitals.Vitals("worker", "mqtt9@c", {}),
        vitals.Vitals("web", "web1@a", {"sse_clients": 1}),
    ]
    monkeypatch.setattr(overview.vitals, "load", lambda: known)

    _, text = run("mqtt_status")

    rows = [line.split() for line in text.split("\n\n")[1].splitlines()]
    assert rows == [
        ["WORKER", "SHARDS", "ALIVE", "INBOX", "DISK"],
        ["mqtt0@a", "0", "yes", "1,200", "7,300"],
        ["mqtt0@b", "standby", "yes", "0", "-"],
        ["mqtt9@c", "-", "NO", "-", "-"],
    ]
    assert "warning: mqtt0@a keeps 7,300 messages on its disk since 15 s" in text
    assert "warning: mqtt0@a has no room for messages on its disk" in text


def test_json_has_everything(all_shards, north):
    running(north)

    code, text = run("mqtt_status", "--json")

    body = json.loads(text)
    assert code == 0
    assert body["healthy"] is True
    [connection] = body["connections"]
    assert connection["status"] == "connected"
    assert connection["status_changed_at"].endswith("Z")
    assert [lease["alive"] for lease in body["leases"]] == [True, True]
    assert body["reconcile_age_seconds"] == 3.0


# -- check_health --------------------------------------------------------------


def test_health_is_one_line_and_0(all_shards, north):
    running(north)

    code, text = run("check_health")

    body = json.loads(text)
    assert code == 0, body
    assert len(text.splitlines()) == 1
    assert body["status"] == "healthy"
    assert body["leases"] == {"alive": 2, "wanted": 2}
    assert body["connections"]["healthy"] == 1


def test_health_is_1_in_trouble_and_2_in_the_dark(north, monkeypatch):
    assert run("check_health")[0] == 1
    monkeypatch.setattr("apps.sites.management.commands.check_health.overview", away)

    code, text = run("check_health")

    assert code == 2
    assert json.loads(text)["status"] == "unknown"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, '{"status": "healthy"}', 0),
        (503, '{"status": "unhealthy"}', 1),
        (502, "<html>", 2),
        (404, '{"code": "not_found"}', 2),
        (200, "[]", 2),
    ],
)
def test_health_of_a_url(status, body, code):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/api/v1/mqtt/health/"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        got, text = run(
            "check_health", "--url", f"http://127.0.0.1:{server.server_port}"
        )
        thread.join(10)

    assert got == code, text


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:y", "http://[", "///"])
def test_a_url_that_is_none_ends_with_2(url):
    code, text = run("check_health", "--url", url)

    assert code == 2
    assert "--url" in text


# -- start_mqtt_service --------------------------------------------------------


def test_the_old_command_says_where_things_went(all_shards):
    code, text = run("start_mqtt_service", "--log-level", "DEBUG")

    assert code == 0
    assert "Celery workers own the MQTT connections" in text


def test_the_old_command_names_what_is_missing(db):
    code, text = run("start_mqtt_service")

    assert code == 2
    assert "-Q mqtt.shard.0 -n mqtt0@%h" in text


def test_its_status_is_mqtt_status(all_shards, north):
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(status="error", reason="auth")

    code, text = run("start_mqtt_service", "--status")

    assert code == 1
    assert "trouble:" in text


def test_the_old_command_without_a_database(monkeypatch):
    monkeypatch.setattr(leases, "states", away)

    assert run("start_mqtt_service") == (
        2,
        "cannot tell, the database does not answer",
    )


def test_overviews_need_a_fixed_number_of_queries(
    all_shards, django_assert_max_num_queries
):
    for number in range(20):
        site_create(name=f"Site {number}")

    with django_assert_max_num_queries(5):
        overview.overview()
