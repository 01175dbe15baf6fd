"""docker/health.py, run as a container runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.core.redis import client, worker_key
from tests.deployment import ROOT


def check(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run a check with these variables; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "docker/health.py", *arguments],
        check=False,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def name():
    return f"test-{uuid4().hex[:8]}"


def test_a_worker_without_a_sign_of_life_is_unhealthy(name):
    code, said = check("mqtt", name, REDIS_URL=settings.REDIS_URL)

    assert code == 1
    assert name in said


def test_a_worker_that_says_it_lives_is_healthy(name):
    key = worker_key(f"{name}@{socket.gethostname()}")
    client().set(key, "owner", ex=15)

    code, said = check("mqtt", name, REDIS_URL=settings.REDIS_URL)

    client().delete(key)
    assert (code, said) == (0, "")


def test_a_worker_that_does_not_answer_is_unhealthy(name):
    code, said = check("worker", name, REDIS_URL=settings.REDIS_URL)

    assert code == 1
    assert "does not answer" in said


def test_without_redis_a_check_ends_in_time_and_repeats_no_password():
    url = "redis://:very-secret@127.0.0.1:1/0"

    code, said = check("mqtt", "mqtt0", REDIS_URL=url)

    assert code == 1
    assert "very-secret" not in said


@pytest.mark.parametrize("allowed", ["", "localhost,example.org", ".localhost", "*"])
def test_a_web_process_that_answers_is_healthy(live_server, allowed, settings):
    settings.ALLOWED_HOSTS = allowed.split(",") if allowed else ["localhost"]
    port = str(live_server.thread.port)

    code, said = check("web", PORT=port, ALLOWED_HOSTS=allowed)

    assert (code, said) == (0, "")


def test_a_web_process_that_knows_another_name_only_is_unhealthy(live_server, settings):
    settings.ALLOWED_HOSTS = ["example.org"]

    code, said = check("web", PORT=str(live_server.thread.port), ALLOWED_HOSTS="wrong")

    assert code == 1
    assert "400" in said


def test_a_port_on_which_nobody_listens_is_unhealthy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])

    code, said = check("flower", FLOWER_PORT=port)

    assert code == 1
    assert port in said


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("minutes_ago", "expected"), [(None, 1), (11, 1), (4, 0)])
def test_beat_is_healthy_while_it_writes_down_what_it_sent(minutes_ago, expected):
    schedule = IntervalSchedule.objects.create(every=30, period="seconds")
    ago = timedelta(minutes=minutes_ago or 0)
    PeriodicTask.objects.create(
        name="entry",
        task="a.task",
        interval=schedule,
        last_run_at=None if minutes_ago is None else timezone.now() - ago,
    )

    code, _ = check("beat", DATABASE_URL=_database_url())

    assert code == expected


def test_an_unknown_check_is_a_failure():
    code, _ = check("nonsense")

    assert code == 1


def _database_url() -> str:
    """Return where the tests' own database is."""
    base, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    return f"{base}/{connection.settings_dict['NAME']}"
