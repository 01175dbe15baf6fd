"""Silence past a deadline: since when, why, and who goes along."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.devices.models import Datalogger, Gateway
from apps.devices.services import check_presence
from apps.devices.tests.fleet import ago, heard, heard_gateway, periods_of, told
from apps.sites.models import MqttConnection, Site
from apps.sites.tests.builders import running


@pytest.fixture
def link(north: Site) -> MqttConnection:
    """A connection that has been up for an hour."""
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(last_connected_at=ago(3_600))
    row.refresh_from_db()
    return row


# -- the deadline --------------------------------------------------------------


def test_offline_is_since_the_deadline_however_late_the_check_is(north, link):
    datalogger = heard(north, ago(500))

    check_presence(timezone.now())

    assert told(datalogger) == ("offline", "silence")
    assert datalogger.presence_since == datalogger.offline_after
    assert periods_of(datalogger) == [("online", ""), ("offline", "silence")]


@pytest.mark.parametrize(
    ("silent_s", "override", "presence"),
    [(95, 120, "online"), (125, 120, "offline"), (5, 2, "offline")],
)
def test_what_people_set_outweighs_the_promise(
    north, link, silent_s, override, presence
):
    datalogger = heard(north, ago(silent_s), override=override)

    check_presence(timezone.now())

    assert told(datalogger)[0] == presence


def test_what_people_set_counts_from_when_we_could_hear_again(north, link):
    datalogger = heard(north, ago(500), override=300)
    MqttConnection.objects.update(last_connected_at=ago(200))

    check_presence(timezone.now())
    assert told(datalogger)[0] == "online"
    check_presence(timezone.now() + timedelta(seconds=101))

    assert told(datalogger) == ("offline", "silence")
    link.refresh_from_db()
    heard_again = link.last_connected_at
    assert datalogger.presence_since == heard_again + timedelta(seconds=300)


def test_only_one_site_is_looked_at_if_one_is_named(north, link, hidden):
    row = running(hidden)
    MqttConnection.objects.filter(pk=row.pk).update(last_connected_at=ago(3_600))
    here, there = heard(north, ago(500)), heard(hidden, ago(500))

    check_presence(timezone.now(), north.pk)

    assert (told(here)[0], told(there)[0]) == ("offline", "online")


@pytest.mark.django_db(transaction=True)
def test_a_device_that_is_being_written_is_left_to_the_next_check(north):
    """Its batch holds the row: it is being heard. The check waits for nobody."""
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(last_connected_at=ago(3_600))
    busy, silent = heard(north, ago(500)), heard(north, ago(500), number="16")
    other = connection.copy()

    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM devices_datalogger WHERE id = %s FOR NO KEY UPDATE",
                [busy.pk],
            )
        with transaction.atomic():
            check_presence(timezone.now(), north.pk)
        other.rollback()
    finally:
        other.close()

    assert (told(busy)[0], told(silent)[0]) == ("online", "offline")


# -- gateways ------------------------------------------------------------------


def test_a_silent_gateway_takes_its_dataloggers_along(north, link):
    gateway = heard_gateway(north, ago(100))
    patient = heard(north, ago(110), interval=3_600, gateway=gateway)

    check_presence(timezone.now())

    assert told(gateway) == ("offline", "silence")
    assert told(patient) == ("offline", "gateway")
    assert patient.presence_since == gateway.presence_since
    assert periods_of(patient) == [("online", ""), ("offline", "gateway")]


def test_a_datalogger_heard_after_its_gateway_has_another_way(north, link):
    gateway = heard_gateway(north, ago(100))
    other = heard(north, ago(50), gateway=gateway)

    check_presence(timezone.now())

    assert told(gateway)[0] == "offline"
    assert told(other) == ("online", "")


def test_a_silent_datalogger_behind_a_dead_gateway_is_explained_by_it(north, link):
    gateway = heard_gateway(north, ago(100))
    other = heard(north, ago(95), gateway=gateway)

    check_presence(timezone.now())

    assert told(other) == ("offline", "gateway")


def test_a_silent_datalogger_behind_a_living_gateway_is_silent_itself(north, link):
    gateway = heard_gateway(north, ago(10))
    datalogger = heard(north, ago(95), gateway=gateway)

    check_presence(timezone.now())

    assert told(gateway)[0] == "online"
    assert told(datalogger) == ("offline", "silence")


def test_who_was_missed_first_gets_the_cause_that_is_found_later(north, link):
    """The gateway died; the check came between the two deadlines."""
    now = timezone.now()
    gateway = heard_gateway(north, ago(80))
    early = heard(north, ago(100), gateway=gateway)
    dead_before = heard(north, ago(300), number="16", gateway=gateway)
    check_presence(now)
    assert told(early) == ("offline", "silence")
    since = early.presence_since

    check_presence(now + timedelta(seconds=20))

    assert told(early) == ("offline", "gateway")
    assert early.presence_since == since
    assert periods_of(early) == [("online", ""), ("offline", "gateway")]
    # The gateway was heard after this one had been given up.
    assert told(dead_before) == ("offline", "silence")


def test_it_says_no_cause_of_a_device_that_nobody_heard(north, link):
    gateway = heard_gateway(north, ago(500))
    never = Datalogger.objects.create(site=north, gateway=gateway, type="a", number="1")

    check_presence(timezone.now())

    assert told(never) == ("unknown", "")


def test_ten_gateways_cost_as_many_statements_as_one(
    north, link, django_assert_max_num_queries
):
    for n in range(10):
        gateway = heard_gateway(north, ago(500), number=str(n))
        for m in range(5):
            heard(north, ago(600), number=f"{n}-{m}", gateway=gateway)

    with django_assert_max_num_queries(16):
        assert check_presence(timezone.now()) == 60

    assert set(Datalogger.objects.values_list("offline_cause", flat=True)) == {
        "gateway"
    }
    assert Gateway.objects.filter(offline_cause="silence").count() == 10
