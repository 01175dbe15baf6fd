"""While we cannot hear, nothing is known: from the first moment to the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import celery
import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from apps.devices import tasks
from apps.devices.services import check_presence
from apps.devices.tests.fleet import ago, heard, heard_gateway, periods_of, told
from apps.devices.uptime import Window, uptimes
from apps.sites.models import ConnectionEvent, MqttConnection, ShardLease, Site
from apps.sites.recording import record
from apps.sites.services import connection_stop
from apps.sites.tests.builders import report_on, running
from apps.sites.tests.sent import catch_commands

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.fixture
def link(north: Site) -> MqttConnection:
    """A connection that has been up for an hour."""
    with time_machine.travel(at(-3_600), tick=False):
        return running(north)


def breaks(link: MqttConnection, seconds: float) -> None:
    """The connection is lost, and this is recorded at once."""
    with time_machine.travel(at(seconds), tick=False):
        assert record(report_on(link, status="error", reason="lost"))


def comes_back(link: MqttConnection, seconds: float) -> None:
    with time_machine.travel(at(seconds), tick=False):
        assert record(report_on(link, connected_at=at(seconds)))


def test_unknown_is_since_the_break_however_late_the_check_is(north, link):
    gateway = heard_gateway(north, at(0))
    datalogger = heard(north, at(0), gateway=gateway)
    breaks(link, 10)

    check_presence(at(39))

    assert told(datalogger) == ("unknown", "")
    assert datalogger.presence_since == at(10)
    assert told(gateway) == ("unknown", "")
    assert gateway.presence_since == at(10)
    assert periods_of(datalogger) == [("online", ""), ("unknown", "")]


def test_the_tries_to_connect_again_do_not_move_the_beginning(north, link):
    datalogger = heard(north, at(0))
    breaks(link, 10)
    for n in range(3):
        with time_machine.travel(at(15 + n), tick=False):
            record(report_on(link, status="connecting"))
            record(report_on(link, status="error", reason="refused"))

    check_presence(at(39))

    assert told(datalogger)[0] == "unknown"
    assert datalogger.presence_since == at(10)


def test_unknown_is_never_before_what_was_known_last(north, link):
    """The link was up in between, and that was never recorded."""
    datalogger = heard(north, at(12))
    breaks(link, 10)

    check_presence(at(30))

    assert told(datalogger)[0] == "unknown"
    assert datalogger.presence_since == at(12)


@pytest.mark.parametrize("status", ["connecting", "error"])
def test_a_device_heard_since_is_not_unknown_because_the_row_comes_later(
    north, link, status
):
    """The link is up again, the device was heard, the row will say so in a moment."""
    breaks(link, 10)
    MqttConnection.objects.update(status=status)
    datalogger, gateway = heard(north, at(15)), heard_gateway(north, at(15))
    silent = heard(north, at(9), number="16")

    check_presence(at(15.2))
    comes_back(link, 15.3)
    check_presence(at(15.4))

    assert told(datalogger)[0] == told(gateway)[0] == "online"
    assert told(silent)[0] == "unknown"
    assert silent.presence_since == at(10)


def test_a_device_heard_after_a_stop_is_unknown(north, link):
    """What arrived while the owner was told to let go says nothing about now."""
    with time_machine.travel(at(10), tick=False):
        connection_stop(north)
    datalogger = heard(north, at(10.1))

    check_presence(at(10.2))

    assert told(datalogger)[0] == "unknown"


def test_a_device_heard_by_an_owner_that_died_is_unknown(north, link):
    datalogger = heard(north, ago(1), interval=3_600)
    ShardLease.objects.update(expires_at=ago(0.1))
    MqttConnection.objects.update(status="error", status_changed_at=ago(20))

    check_presence(timezone.now())

    assert told(datalogger)[0] == "unknown"


def test_an_offline_device_is_unknown_as_well(north, link):
    datalogger = heard(north, at(-500))
    check_presence(at(0))
    assert told(datalogger) == ("offline", "silence")
    breaks(link, 10)

    check_presence(at(20))

    assert told(datalogger) == ("unknown", "")


def test_a_short_break_that_nobody_looked_at_still_counts(north, link):
    """It was over before any task ran."""
    missed = heard(north, at(0))
    heard_since = heard(north, at(18), number="16")
    breaks(link, 10)
    comes_back(link, 15)

    check_presence(at(25))

    assert told(missed)[0] == "unknown"
    assert missed.presence_since == at(10)
    assert told(heard_since)[0] == "online"
    assert check_presence(at(30)) == 0


def test_a_break_of_long_ago_is_not_looked_at_again(north, link):
    breaks(link, -3_000)
    comes_back(link, -2_990)
    datalogger = heard(north, at(0))

    assert check_presence(at(30)) == 0
    assert told(datalogger)[0] == "online"


def test_after_the_break_silence_counts_anew(north, link):
    datalogger = heard(north, at(0))
    breaks(link, 10)
    check_presence(at(11))
    comes_back(link, 70)

    check_presence(at(159))
    assert told(datalogger)[0] == "unknown"
    check_presence(at(161))

    assert told(datalogger) == ("offline", "silence")
    assert datalogger.presence_since == at(160)


def test_a_minute_without_the_broker_counts_nothing(north, link):
    datalogger = heard(north, at(0))
    breaks(link, 10)
    check_presence(at(10.1))
    comes_back(link, 70)
    check_presence(at(70.1))

    window = Window("24h", at(-60), at(70))
    [uptime] = uptimes([datalogger.pk], [window])[datalogger.pk]

    assert (uptime.online_s, uptime.offline_s, uptime.unknown_s) == (10, 0, 120)
    assert uptime.percentage == 100.0
    [blind] = uptimes([datalogger.pk], [Window("24h", at(10), at(70))])[datalogger.pk]
    assert blind.percentage is None


# -- the owner -----------------------------------------------------------------


def test_silence_proves_nothing_once_the_owner_is_dead(north, link):
    """The row still says `connected`: nobody was left to say otherwise."""
    datalogger = heard(north, ago(60), interval=10)
    MqttConnection.objects.update(last_connected_at=ago(3_600))
    ShardLease.objects.update(expires_at=ago(5))

    check_presence(timezone.now())

    assert told(datalogger) == ("online", "")


@pytest.mark.parametrize(
    ("owner", "before_s"),
    [("mqtt@here", 15), ("", 0)],  # renewed for the last time; given back
)
def test_the_owners_death_is_the_end_of_hearing(north, link, owner, before_s):
    """The reconcile calls the worker lost half a minute after it died."""
    datalogger = heard(north, ago(120), interval=3_600)
    expired = ago(30)
    ShardLease.objects.update(expires_at=expired, owner=owner)
    MqttConnection.objects.update(status="error", status_changed_at=ago(1))

    check_presence(timezone.now())

    assert told(datalogger)[0] == "unknown"
    assert datalogger.presence_since == expired - timedelta(seconds=before_s)


# -- at once -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        (("connected", "error"), True),
        (("connected", "connecting"), True),
        (("connecting", "connected"), True),
        (("connecting", "error"), False),
        (("connected", "connected"), False),
    ],
)
def test_hearing_and_not_hearing_are_looked_at_at_once(
    link, monkeypatch, django_capture_on_commit_callbacks, change, sent
):
    before, after = change
    MqttConnection.objects.update(status=before)
    commands = catch_commands(monkeypatch)

    with django_capture_on_commit_callbacks(execute=True):
        record(report_on(link, status=after))

    wanted = [("check_site_presence", link.site_id, "default")]
    assert commands.commands == (wanted if sent else [])


def test_a_stop_is_the_end_of_hearing(
    north, link, monkeypatch, django_capture_on_commit_callbacks
):
    commands = catch_commands(monkeypatch)

    with django_capture_on_commit_callbacks(execute=True):
        connection_stop(north)

    assert ("check_site_presence", north.pk, "default") in commands.commands


def test_the_task_that_is_sent_is_there_and_looks(north, link):
    datalogger = heard(north, at(0))
    breaks(link, 10)

    celery.current_app.tasks["apps.devices.tasks.check_site_presence"](north.pk)

    assert tasks.check_site_presence.name == "apps.devices.tasks.check_site_presence"
    assert told(datalogger)[0] == "unknown"
    assert datalogger.presence_since == at(10)


def test_a_look_stays_cheap_with_a_long_timeline(north, link):
    """A site that nobody could reach for weeks has thousands of events."""
    heard(north, at(0))
    ConnectionEvent.objects.bulk_create(
        ConnectionEvent(
            connection=link, old_status="connecting", new_status="error", at=at(-n)
        )
        for n in range(2_000)
    )
    breaks(link, 10)
    check_presence(at(11))

    def look() -> timedelta:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            began: datetime = cursor.fetchone()[0]
            check_presence(at(40))
            cursor.execute("SELECT clock_timestamp()")
            ended: datetime = cursor.fetchone()[0]
            return ended - began

    # The best of five: 6 ms on a quiet machine, but one may fall into a pause.
    assert min(look() for _ in range(5)) < timedelta(seconds=0.5)
