"""manage.py prune and the chores behind it: counted first, then gone, nothing else."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from apps.alerts.models import Alert, AlertChannel, AlertDelivery
from apps.core import chores, sqlprune
from apps.core.chores import Chore, all_chores
from apps.devices.models import Datalogger, PresencePeriod
from apps.sites.models import Command, ConnectionEvent
from apps.sites.services import connection_of
from apps.telemetry import tasks
from apps.telemetry.models import QuarantinedMessage

pytestmark = pytest.mark.django_db

OLD, YOUNG = timedelta(days=401), timedelta(days=399)
MODELS = (
    ConnectionEvent,
    Command,
    PresencePeriod,
    QuarantinedMessage,
    Alert,
    AlertDelivery,
)


def prune(*arguments: str) -> dict[str, int]:
    out = StringIO()
    call_command("prune", *arguments, stdout=out)
    rows = [line.strip().split("  ", 1) for line in out.getvalue().splitlines()]
    return {name: int(count.replace(",", "")) for count, name in rows}


def counts() -> list[int]:
    return [model.objects.count() for model in MODELS]


@pytest.fixture
def filled(north):
    now = timezone.now()
    row = connection_of(north)
    device = Datalogger.objects.create(site=north, type="a", number="1")
    channel = AlertChannel.objects.create(kind="email", name="x", target="a@b.it")
    for age in (OLD, YOUNG):
        ConnectionEvent.objects.create(
            connection=row, at=now - age, old_status="error", new_status="connected"
        )
        Command.objects.create(
            site=north, created_at=now - age, payload_size=0, expires_at=now
        )
        PresencePeriod.objects.create(
            datalogger=device,
            presence="offline",
            started_at=now - OLD - OLD,
            ended_at=now - age,
        )
        alert = Alert.objects.create(
            kind="gateway", site=north, subject="g", opened_at=now - OLD,
            closed_at=now - age,
        )  # fmt: skip
        AlertDelivery.objects.create(alert=alert, channel=channel, event="opened")
    for age in (timedelta(days=8), timedelta(days=6)):
        QuarantinedMessage.objects.create(
            site=north, received_at=now - age, topic="t", payload=b"",
            payload_size=0, qos=0, retain=False,
        )  # fmt: skip
    Alert.objects.create(kind="gateway", site=north, subject="o", opened_at=now - OLD)


def test_a_dry_run_counts_and_keeps_everything(filled):
    before = counts()

    told = prune("--dry-run")

    assert {name for name, count in told.items() if count} == {
        "connection events would be deleted",
        "commands would be deleted",
        "presence periods would be deleted",
        "quarantined messages would be deleted",
        "alerts would be deleted",
    }
    assert set(told.values()) == {0, 1}
    assert counts() == before


def test_it_deletes_what_it_had_counted(filled):
    wanted = [count for name, count in prune("--dry-run").items()]

    told = prune()

    told.pop("days of readings made ready")
    assert list(told.values()) == wanted
    assert counts() == [1, 1, 1, 1, 2, 1]
    assert set(prune("--dry-run").values()) == {0}


def test_housekeeping_does_the_same(filled):
    tasks.housekeeping()

    assert counts() == [1, 1, 1, 1, 2, 1]


def test_a_chore_that_fails_leaves_the_others_their_turn(filled, monkeypatch, caplog):
    def broken() -> int:
        message = "canceling statement due to lock timeout"
        raise OperationalError(message)

    known = [Chore("broken", do=broken, would=broken), *all_chores()]
    monkeypatch.setattr(tasks, "all_chores", lambda: known)

    tasks.housekeeping()

    assert counts() == [1, 1, 1, 1, 2, 1]
    assert "broken=failed" in caplog.text


def test_it_deletes_in_slices(filled, north, monkeypatch):
    row = connection_of(north)
    at = timezone.now() - OLD
    ConnectionEvent.objects.bulk_create(
        ConnectionEvent(connection=row, at=at, old_status="error", new_status="error")
        for _ in range(10)
    )
    monkeypatch.setattr(sqlprune, "SLICE", 3)

    assert prune()["connection events deleted"] == 11


def test_without_a_database_it_says_so(monkeypatch):
    def away() -> list[Chore]:
        message = "connection refused\nmore"
        raise OperationalError(message)

    monkeypatch.setattr("apps.telemetry.management.commands.prune.all_chores", away)

    with pytest.raises(CommandError, match=r"^connection refused$"):
        prune("--dry-run")


def test_every_app_is_asked():
    names = [chore.name for chore in chores.all_chores()]

    assert len(names) == len(set(names))
    assert {"connection events", "presence periods", "alerts"} <= set(names)
