"""The check on real rows: opens, closes, keeps quiet, and bears repetition."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.alerts import services
from apps.alerts.models import Alert, AlertDelivery
from apps.alerts.services import check
from apps.alerts.tests.builders import (
    datalogger,
    email_channel,
    gateway,
    later,
    offline,
    online,
    set_status,
    webhook_channel,
)
from apps.devices.models import PresencePeriod
from apps.sites.models import Status
from apps.sites.services import connection_stop, site_delete
from apps.sites.tests.builders import running
from apps.sites.tests.sent import catch_commands
from apps.sites.tests.test_api_status import lose_the_worker

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """Note the SSE events; no Redis and no workers in here."""
    said: list[tuple[list[str], str, dict]] = []
    monkeypatch.setattr(
        services.events,
        "emit",
        lambda channels, event, data: said.append((list(channels), event, data)),
    )
    catch_commands(monkeypatch)
    return said


def is_open() -> bool:
    return Alert.objects.filter(closed_at=None, confirmed_at__isnull=False).exists()


# -- connections ---------------------------------------------------------------


def test_a_connection_that_is_away_for_long_raises_one_alert(north, told):
    row = running(north)
    channel = email_channel()
    set_status(row, Status.ERROR, ago_s=130, reason="refused")

    check(timezone.now())
    check(later(30))

    alert = Alert.objects.get()
    assert (alert.kind, alert.connection_id, alert.cause) == (
        "connection",
        row.pk,
        "refused",
    )
    assert alert.opened_at == row.status_changed_at
    assert alert.subject == "North"
    assert [d.channel_id for d in AlertDelivery.objects.all()] == [channel.pk]
    [(channels, event, data)] = told
    assert (channels, event) == ([f"site-{north.pk}"], "alert")
    assert data["event"] == "opened"


def test_a_short_break_is_nobodys_business(north):
    row = running(north)
    email_channel()
    set_status(row, Status.ERROR, ago_s=20, reason="lost")
    check(timezone.now())
    set_status(row, Status.CONNECTED)

    check(later(30))

    assert not Alert.objects.exists()
    assert not AlertDelivery.objects.exists()


def test_the_tolerance_counts_from_the_first_sign_whatever_the_reason_becomes(north):
    row = running(north)
    set_status(row, Status.ERROR, ago_s=20, reason="lost")
    check(timezone.now())
    set_status(row, Status.CONNECTING)
    set_status(row, Status.ERROR, reason="refused")

    check(later(105))

    assert Alert.objects.get().confirmed_at is not None


def test_it_began_when_the_connection_broke_whatever_came_since(north):
    row = running(north)
    set_status(row, Status.ERROR, ago_s=125, reason="lost")
    broke_at = row.status_changed_at
    set_status(row, Status.ERROR, ago_s=30, reason="refused")

    check(timezone.now())

    alert = Alert.objects.get()
    assert (alert.opened_at, alert.cause) == (broke_at, "refused")
    assert is_open()


def test_a_start_gives_the_tolerance_anew(north):
    row = running(north)
    set_status(row, Status.ERROR, ago_s=300, reason="lost")
    set_status(row, Status.DISABLED, ago_s=60)
    set_status(row, Status.CONNECTING, ago_s=50)
    set_status(row, Status.ERROR, ago_s=40, reason="refused")

    check(timezone.now())

    assert not is_open()


def test_a_dead_worker_is_trouble_though_its_row_says_connected(north):
    running(north)
    lose_the_worker(north)
    check(timezone.now())

    check(later(121))

    assert Alert.objects.get().cause == "worker_lost"
    assert is_open()


def test_it_closes_when_peace_has_lasted_and_tells_who_was_told(north, told):
    row = running(north)
    channel = email_channel()
    set_status(row, Status.ERROR, ago_s=130, reason="lost")
    check(timezone.now())
    latecomer = email_channel(name="Late")
    set_status(row, Status.CONNECTED, ago_s=1)

    check(later(10))
    assert is_open()
    check(later(70))

    assert not is_open()
    events = AlertDelivery.objects.order_by("pk").values_list("channel_id", "event")
    assert list(events) == [(channel.pk, "opened"), (channel.pk, "closed")]
    assert latecomer.deliveries.count() == 0
    assert [data["event"] for _, _, data in told] == ["opened", "closed"]


def test_the_next_trouble_is_a_new_alert(north):
    row = running(north)
    set_status(row, Status.ERROR, ago_s=2_000, reason="lost")
    check(later(-1_500))
    set_status(row, Status.CONNECTED, ago_s=1_400)
    check(later(-1_200))
    set_status(row, Status.ERROR, ago_s=130, reason="lost")

    check(timezone.now())

    assert Alert.objects.count() == 2
    assert is_open()


def test_a_stopped_site_closes_without_a_word(north):
    row = running(north)
    email_channel()
    set_status(row, Status.ERROR, ago_s=130, reason="lost")
    device = datalogger(north)
    offline(device, ago_s=200)
    check(timezone.now())
    assert Alert.objects.filter(closed_at=None).count() == 2
    connection_stop(north)

    check(later(30))

    assert not is_open()
    assert not AlertDelivery.objects.filter(event="closed").exists()


def test_a_stopped_site_raises_nothing(north):
    row = running(north)
    set_status(row, Status.ERROR, ago_s=500, reason="lost")
    connection_stop(north)

    check(later(300))

    assert not Alert.objects.exists()


def test_a_connection_that_comes_and_goes_raises_one_alert_and_keeps_it(north):
    row = running(north)
    email_channel()
    for ago_s in (200, 150, 100):
        set_status(row, Status.ERROR, ago_s=ago_s, reason="lost")
        set_status(row, Status.CONNECTED, ago_s=ago_s - 25)

    for after in (0, 30, 60, 90, 120):
        check(later(after))

    alert = Alert.objects.get()
    assert alert.detail == "flapping"
    assert is_open()
    assert AlertDelivery.objects.count() == 1

    check(later(700))  # the changes are ten minutes old
    check(later(770))

    assert not is_open()
    assert AlertDelivery.objects.count() == 2


def test_what_people_start_and_stop_is_no_flapping(north):
    row = running(north)
    for _ in range(8):
        set_status(row, Status.DISABLED, ago_s=60)
        set_status(row, Status.DISCONNECTED, ago_s=60)
        set_status(row, Status.CONNECTED, ago_s=60)

    check(timezone.now())

    assert not Alert.objects.exists()


# -- devices -------------------------------------------------------------------


def test_a_device_that_is_offline_for_long_raises_an_alert(north):
    running(north)
    for row in (datalogger(north), gateway(north)):
        offline(row, ago_s=121)

    check(timezone.now())

    found = Alert.objects.values_list("kind", "cause", "subject")
    assert sorted(found) == [
        ("datalogger", "silence", "monstro 1"),
        ("gateway", "silence", "gateway 1"),
    ]


def test_a_device_that_comes_back_closes_it(north):
    running(north)
    row = datalogger(north)
    offline(row, ago_s=300)
    check(timezone.now())
    online(row, ago_s=61)

    check(timezone.now())

    assert not is_open()


def test_a_gateway_explains_its_dataloggers(north):
    running(north)
    row = gateway(north)
    offline(row, ago_s=200)
    for number in range(5):
        device = datalogger(north, str(number), gateway=row)
        offline(device, ago_s=200, cause="gateway")

    check(timezone.now())

    assert Alert.objects.get().kind == "gateway"


def test_a_device_that_never_was_online_raises_none(north):
    running(north)
    offline(datalogger(north, offline_after=None), ago_s=9_000)

    check(timezone.now())

    assert not Alert.objects.exists()


def test_unknown_is_neither_trouble_nor_peace(north):
    running(north)
    watched, alerted = datalogger(north, "1"), datalogger(north, "2")
    offline(watched, ago_s=10)
    offline(alerted, ago_s=300)
    check(timezone.now())
    for row in (watched, alerted):
        row.presence = "unknown"
        row.save()

    check(later(600))

    assert Alert.objects.get().datalogger_id == alerted.pk
    assert is_open()


def test_a_datalogger_that_comes_and_goes_is_flapping(north):
    running(north)
    row = datalogger(north)
    now = timezone.now()
    for place, presence in enumerate(["offline", "online"] * 3):
        PresencePeriod.objects.create(
            datalogger=row,
            presence=presence,
            started_at=now - timedelta(seconds=300 - 40 * place),
            ended_at=now,
        )
    online(row, ago_s=100)

    check(now)

    assert Alert.objects.get().detail == "flapping"


def test_our_own_breaks_are_no_flapping_of_a_device(north):
    running(north)
    row = datalogger(north)
    now = timezone.now()
    for place in range(12):
        PresencePeriod.objects.create(
            datalogger=row,
            presence=("unknown", "online")[place % 2],
            started_at=now - timedelta(seconds=300 - 20 * place),
            ended_at=now,
        )
    online(row, ago_s=10)

    check(now)

    assert not Alert.objects.exists()


def test_a_deleted_device_closes_without_a_word_and_leaves_its_name(north):
    running(north)
    email_channel()
    row = datalogger(north, label="Hall <b>A</b>")
    offline(row, ago_s=300)
    check(timezone.now())
    row.delete()

    check(later(30))

    alert = Alert.objects.get()
    assert (alert.subject, alert.object_id) == ("Hall <b>A</b>", None)
    assert alert.closed_at is not None
    assert AlertDelivery.objects.count() == 1


def test_a_deleted_site_takes_its_alerts_along(north):
    row = running(north)
    webhook_channel("http://127.0.0.1:1/", site=north)
    set_status(row, Status.ERROR, ago_s=130, reason="lost")
    check(timezone.now())

    site_delete(north)
    check(later(30))

    assert not Alert.objects.exists()


# -- whom to tell --------------------------------------------------------------


def test_each_channel_hears_what_it_wants(north, hidden):
    row = running(north)
    set_status(row, Status.ERROR, ago_s=130, reason="lost")
    offline(gateway(north), ago_s=130)
    email_channel(name="all")
    email_channel(name="connections", wants_devices=False)
    email_channel(name="devices", wants_connections=False)
    email_channel(name="north", site=north)
    email_channel(name="hidden", site=hidden)
    email_channel(name="off", is_active=False)

    check(timezone.now())

    heard = AlertDelivery.objects.order_by("channel__name", "alert__kind")
    assert list(heard.values_list("channel__name", "alert__kind")) == [
        ("all", "connection"),
        ("all", "gateway"),
        ("connections", "connection"),
        ("devices", "gateway"),
        ("north", "connection"),
        ("north", "gateway"),
    ]


def test_a_storm_of_alerts_is_one_resync_for_browsers(north, told):
    running(north)
    for number in range(21):
        offline(datalogger(north, str(number)), ago_s=130)

    check(timezone.now())

    assert [event for _, event, _ in told] == ["resync"]


def test_its_queries_do_not_grow_with_the_number_of_devices(
    north, django_assert_max_num_queries
):
    running(north)
    email_channel()
    for number in range(60):
        offline(datalogger(north, str(number)), ago_s=130)
        offline(gateway(north, str(number)), ago_s=10)

    with django_assert_max_num_queries(30):
        check(timezone.now())
    with django_assert_max_num_queries(25):
        check(later(30))


@pytest.mark.django_db(transaction=True)
def test_two_checks_at_once_tell_it_once(north):
    row = running(north)
    email_channel()
    set_status(row, Status.ERROR, ago_s=130, reason="lost")
    offline(datalogger(north), ago_s=300)
    barrier, now = threading.Barrier(4), timezone.now()
    problems: list[Exception] = []

    def one() -> None:
        try:
            barrier.wait(10)
            check(now)
        except Exception as error:  # noqa: BLE001 (told below)
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert problems == []
    assert Alert.objects.count() == 2
    assert AlertDelivery.objects.count() == 2
