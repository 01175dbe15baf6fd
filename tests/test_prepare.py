from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.sites import commands
from apps.sites.models import MqttConnection
from apps.telemetry.partitions import READINGS
from project.management.commands.prepare import LOCK_KEY, ensure_administrator


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADMIN_USERNAME", "ADMIN_PASSWORD", "ADMIN_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.django_db(transaction=True)
def test_it_makes_everything_ready_and_may_be_repeated(
    monkeypatch: pytest.MonkeyPatch,
):
    asked: list[int] = []
    monkeypatch.setattr(commands, "send_ensure", lambda site_id: asked.append(site_id))
    monkeypatch.setenv("ADMIN_PASSWORD", "pw-admin-1")
    monkeypatch.setenv("MQTT_URL", "mqtt://127.0.0.1:1")
    every = IntervalSchedule.objects.create(every=1, period="seconds")
    PeriodicTask.objects.create(name="guardiano: gone", task="x", interval=every)

    outputs = []
    for _ in range(2):
        out = StringIO()
        call_command("prepare", "--demo", stdout=out)
        outputs.append(out.getvalue())

    assert "1 schedule entries retired" in outputs[0]
    assert "retired" not in outputs[1]
    assert "administrator admin created" in outputs[0]
    assert "administrator admin unchanged" in outputs[1]
    assert not PeriodicTask.objects.get(name="guardiano: gone").enabled
    assert len(READINGS.existing()) >= 4
    assert MqttConnection.objects.filter(is_enabled=True).count() == 3
    assert len(asked) == 3


@pytest.mark.django_db(transaction=True)
def test_it_leaves_no_lock_and_no_changed_limit_behind():
    call_command("prepare", stdout=StringIO())

    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("15s",)
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
            "WHERE locktype = 'advisory' AND datname = current_database() "
            "AND objid::bigint = %s",
            [LOCK_KEY % 2**32],
        )
        assert cursor.fetchone() == (0,)
    assert not User.objects.exists()


@pytest.mark.django_db
def test_without_a_password_no_user_is_touched():
    User.objects.create_user("admin", password="old")

    assert "left alone" in ensure_administrator()

    user = User.objects.get()
    assert user.check_password("old")
    assert not user.is_superuser


@pytest.mark.django_db
def test_an_unchanged_password_keeps_its_owners_sessions(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("ADMIN_PASSWORD", "pw-admin-1")
    ensure_administrator()
    before = User.objects.get().get_session_auth_hash()

    ensure_administrator()

    assert User.objects.get().get_session_auth_hash() == before


@pytest.mark.django_db
def test_a_new_password_replaces_the_old_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ADMIN_PASSWORD", "pw-admin-1")
    monkeypatch.setenv("ADMIN_USERNAME", "chief")
    ensure_administrator()
    monkeypatch.setenv("ADMIN_PASSWORD", "pw-admin-2")

    said = ensure_administrator()

    assert said == "administrator chief: password set"
    assert User.objects.get(username="chief").check_password("pw-admin-2")
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_whoever_it_names_becomes_an_administrator(monkeypatch: pytest.MonkeyPatch):
    User.objects.create_user("admin", password="pw-admin-1", is_active=False)
    monkeypatch.setenv("ADMIN_PASSWORD", "pw-admin-1")

    ensure_administrator()

    user = User.objects.get()
    assert (user.is_active, user.is_staff, user.is_superuser) == (True, True, True)


@pytest.mark.django_db
def test_the_password_may_come_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "secret").write_text("pw-admin-3\n")
    monkeypatch.setenv("ADMIN_PASSWORD_FILE", str(tmp_path / "secret"))

    said = ensure_administrator()

    assert User.objects.get().check_password("pw-admin-3")
    assert "pw-admin-3" not in said
