"""The offline check: silence is offline, unless it is our own link that is silent."""

from __future__ import annotations

import itertools
import threading
from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.devices import services
from apps.devices.models import Datalogger, Gateway, Presence, PresencePeriod
from apps.devices.services import MANY_CHANGES, check_presence
from apps.devices.updates import write_periods
from apps.sites.models import MqttConnection, Site, Status
from apps.sites.tests.builders import running


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


@pytest.fixture
def link(north: Site) -> MqttConnection:
    """A connection that has been up for an hour."""
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(last_connected_at=ago(3_600))
    row.refresh_from_db()
    return row


def heard(
    site: Site, seconds_ago: float, *, interval: int | None = 60, number: str = "15"
) -> Datalogger:
    """Return a datalogger that was online when it was last heard."""
    at = ago(seconds_ago)
    datalogger = Datalogger.objects.create(
        site=site,
        type="monstro",
        number=number,
        presence=Presence.ONLINE,
        presence_since=at,
        last_seen_at=at,
        interval_s=interval,
        offline_after=at + timedelta(seconds=1.5 * (interval or 60)),
    )
    write_periods([datalogger.pk])
    return datalogger


def presence_of(device: Datalogger | Gateway) -> str:
    device.refresh_from_db()
    return device.presence


def periods_of(datalogger: Datalogger) -> list[tuple[str, bool]]:
    """Return (presence, is open) of its periods, checked for holes and overlaps."""
    periods = list(datalogger.periods.order_by("id"))
    for earlier, later in itertools.pairwise(periods):
        assert earlier.ended_at == later.started_at
        assert earlier.presence != later.presence
    assert [p.ended_at for p in periods[:-1]] == [
        p.ended_at for p in periods if p.ended_at
    ]
    return [(period.presence, period.ended_at is None) for period in periods]


# -- silence -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("silent_s", "interval", "presence"),
    [
        (0, 60, "online"),
        (85, 60, "online"),
        (95, 60, "offline"),
        (95, None, "offline"),
        (85, None, "online"),
        (95, 3_600, "online"),
        (2, 1, "offline"),
    ],
)
def test_silence_of_one_and_a_half_intervals_is_offline(
    north, link, silent_s, interval, presence
):
    datalogger = heard(north, silent_s, interval=interval)

    check_presence(timezone.now())

    assert presence_of(datalogger) == presence


def test_the_check_is_safe_to_repeat(north, link):
    datalogger = heard(north, 500)

    assert check_presence(timezone.now()) == 1
    since = Datalogger.objects.get().presence_since
    assert check_presence(timezone.now()) == 0

    assert Datalogger.objects.get().presence_since == since
    assert periods_of(datalogger) == [("online", False), ("offline", True)]


def test_a_device_that_was_never_heard_is_unknown_and_stays_so(north, link):
    datalogger = Datalogger.objects.create(site=north, type="a", number="1")

    check_presence(timezone.now())

    assert presence_of(datalogger) == Presence.UNKNOWN


def test_gateways_fall_silent_too(north, link):
    gateway = Gateway.objects.create(
        site=north, number="7", presence="online", offline_after=ago(1)
    )

    check_presence(timezone.now())

    assert presence_of(gateway) == Presence.OFFLINE


def test_another_sites_devices_are_left_alone(north, link, hidden):
    MqttConnection.objects.filter(site=hidden).update(
        status=Status.CONNECTED, last_connected_at=ago(3_600)
    )
    silent, other = heard(north, 500), heard(hidden, 5)

    check_presence(timezone.now())

    assert presence_of(silent) == Presence.OFFLINE
    assert presence_of(other) == Presence.ONLINE


# -- our own link --------------------------------------------------------------


@pytest.mark.parametrize("status", ["connecting", "error", "disabled", "disconnected"])
@pytest.mark.parametrize("before", ["online", "offline"])
def test_without_our_link_nothing_is_known_about_a_device(north, link, status, before):
    datalogger = heard(north, 500)
    Datalogger.objects.update(presence=before)
    MqttConnection.objects.update(status=status)

    check_presence(timezone.now())

    assert presence_of(datalogger) == Presence.UNKNOWN


def test_a_device_is_unknown_until_it_had_time_to_be_heard_again(north, link):
    datalogger = heard(north, 500)
    MqttConnection.objects.update(status=Status.ERROR)
    check_presence(timezone.now())

    MqttConnection.objects.update(
        status=Status.CONNECTED, last_connected_at=timezone.now()
    )
    check_presence(timezone.now() + timedelta(seconds=85))
    assert presence_of(datalogger) == Presence.UNKNOWN
    check_presence(timezone.now() + timedelta(seconds=95))

    assert presence_of(datalogger) == Presence.OFFLINE
    assert periods_of(datalogger) == [
        ("online", False),
        ("unknown", False),
        ("offline", True),
    ]


def test_a_break_of_our_link_between_two_checks_makes_no_device_offline(north, link):
    """It could not be heard; its silence counts from when we could hear again."""
    datalogger = heard(north, 100)

    MqttConnection.objects.update(last_connected_at=ago(5))
    check_presence(timezone.now())
    assert presence_of(datalogger) == Presence.ONLINE
    check_presence(timezone.now() + timedelta(seconds=91))

    assert presence_of(datalogger) == Presence.OFFLINE


def test_a_link_whose_start_nobody_noted_counts_as_old(north, link):
    datalogger = heard(north, 500)
    MqttConnection.objects.update(last_connected_at=None)

    check_presence(timezone.now())

    assert presence_of(datalogger) == Presence.OFFLINE


# -- periods -------------------------------------------------------------------


def test_a_check_that_was_late_does_not_turn_a_period_inside_out(north, link):
    """Its `now` was taken before a batch that committed first."""
    now = timezone.now()
    datalogger = heard(north, -2)  # seen two seconds after `now`
    MqttConnection.objects.update(status=Status.DISABLED)

    check_presence(now)

    assert periods_of(datalogger) == [("online", False), ("unknown", True)]
    for period in PresencePeriod.objects.all():
        assert period.ended_at is None or period.ended_at >= period.started_at
    datalogger.refresh_from_db()
    assert datalogger.presence_since == datalogger.periods.latest("id").started_at


@pytest.mark.django_db(transaction=True)
def test_two_checks_at_once_change_a_device_once(north, monkeypatch):
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(last_connected_at=ago(3_600))
    datalogger = heard(north, 500)
    monkeypatch.setattr(services, "broadcast", lambda _: None)
    changed: list[int] = []
    inside, may_commit = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            changed.append(check_presence(timezone.now()))
            inside.set()
            may_commit.wait(10)
        connection.close()

    def quick() -> None:
        changed.append(check_presence(timezone.now()))
        connection.close()

    threads = [threading.Thread(target=slow), threading.Thread(target=quick)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    threads[1].join(timeout=0.3)
    may_commit.set()
    for thread in threads:
        thread.join(timeout=10)

    assert sorted(changed) == [0, 1]
    assert periods_of(datalogger) == [("online", False), ("offline", True)]


# -- telling -------------------------------------------------------------------


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str, dict]]:
    said: list[tuple[list[str], str, dict]] = []
    monkeypatch.setattr(
        services.events,
        "emit",
        lambda channels, event, data: said.append((list(channels), event, dict(data))),
    )
    return said


def test_a_change_is_told_after_the_commit(
    north, link, emitted, django_capture_on_commit_callbacks
):
    datalogger = heard(north, 500)
    emitted.clear()

    with django_capture_on_commit_callbacks(execute=True):
        check_presence(timezone.now())
        assert emitted == []

    said = {
        "datalogger_id": datalogger.pk,
        "presence": "offline",
        "cause": "silence",
    }
    assert emitted == [([f"site-{north.pk}"], "device", said)]


def test_many_changes_at_once_are_one_resync(
    north, link, emitted, django_capture_on_commit_callbacks
):
    for n in range(MANY_CHANGES + 1):
        heard(north, 500, number=str(n))
    emitted.clear()

    with django_capture_on_commit_callbacks(execute=True):
        check_presence(timezone.now())

    assert emitted == [([f"site-{north.pk}"], "resync", {})]
