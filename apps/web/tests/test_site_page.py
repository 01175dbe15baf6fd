from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.devices.models import SensorDevice
from apps.sites.models import ConnectionEvent, MqttConnection, Reason, Site, Status
from apps.web.tests.conftest import MARKUP, make_devices
from apps.web.tests.pages import page_of


def url(site):
    return f"/sites/{site.pk}/"


def test_it_sends_a_stranger_to_the_login(client, north):
    response = client.get(url(north))

    assert response.url == f"/login/?next=/sites/{north.pk}/"


@pytest.mark.parametrize("site_id", [0, 999_999, 10**30])
def test_it_knows_no_site_of_another_number(client, superuser, site_id):
    client.force_login(superuser)

    assert client.get(f"/sites/{site_id}/").status_code == 404


def test_a_hidden_site_is_not_there_for_others(client, hidden, outsider):
    client.force_login(outsider)

    response = client.get(url(hidden))

    assert response.status_code == 404
    assert "Hidden" not in response.content.decode()
    assert page_of(response).problems == []


def test_it_shows_the_connection_and_what_happened(client, connected, viewer):
    row = MqttConnection.objects.get(site=connected)
    ConnectionEvent.objects.create(
        connection=row,
        old_status=Status.CONNECTING,
        new_status=Status.ERROR,
        reason=Reason.TIMEOUT,
        detail="no CONNACK in 10 s",
    )
    client.force_login(viewer)

    page = page_of(client.get(url(connected)))

    assert "MQTT connected" in page.texts
    assert "no answer in time" in page.texts
    assert "no CONNACK in 10 s" in page.texts


def test_it_shows_devices_and_values(client, connected, viewer):
    make_devices(connected, dataloggers=2)
    client.force_login(viewer)

    page = page_of(client.get(url(connected)))

    assert "1 of 2 online" in page.texts
    assert "firmware V.5.53.0" in page.texts
    assert "1,234.5" in page.texts
    assert "°C" in page.texts
    assert "3 min ago" in page.texts
    assert page.texts.count("offline") == 1


def test_it_shows_texts_and_yes_or_no(client, connected, viewer):
    datalogger = make_devices(connected, sensors=0)[0]
    at = timezone.now()
    for key, kind, value, text in (
        ("door", "boolean", 1.0, None),
        ("state", "", None, MARKUP),
        ("new", "", None, None),
    ):
        SensorDevice.objects.create(
            datalogger=datalogger,
            key=key,
            sensor_type=kind,
            current_value=value,
            current_text=text,
            current_at=at,
        )
    client.force_login(viewer)

    page = page_of(client.get(url(connected)))

    kinds = {row["data-kind"] for row in page.with_attribute("data-sensor-id")}
    assert kinds == {"boolean", "text", "number"}
    assert {"yes", MARKUP, "–"} <= set(page.texts)


def test_it_escapes_devices_full_of_markup(client, connected, viewer):
    make_devices(connected)
    client.force_login(viewer)

    html = client.get(url(connected)).content.decode()

    assert "<img src=x" not in html


def test_it_shows_times_in_the_zone_of_the_site(client, connected, viewer):
    Site.objects.update(timezone="Europe/Rome")
    MqttConnection.objects.update(
        status_changed_at=timezone.now().replace(month=1, day=15, hour=12, minute=30)
    )
    client.force_login(viewer)

    page = page_of(client.get(url(connected)))

    assert [e for e in page.with_attribute("title") if "13:30" in e["title"]]


def test_it_counts_down_to_the_next_attempt(client, connected, viewer):
    MqttConnection.objects.update(
        status=Status.ERROR,
        reason=Reason.LOST,
        mqtt_next_retry=timezone.now() + timedelta(seconds=40),
    )
    client.force_login(viewer)

    assert page_of(client.get(url(connected))).with_attribute("data-until")


def test_it_offers_each_person_what_they_may_do(
    client, connected, superuser, operator, viewer
):
    tabs = {}
    for person in (viewer, operator, superuser):
        client.force_login(person)
        page = page_of(client.get(url(connected)))
        links = {found["href"] for found in page.with_attribute("href")}
        forms = {found.get("action") for found in page.with_attribute("method")}
        tabs[person.username] = (
            f"{url(connected)}commands/" in links,
            f"{url(connected)}connection/" in links,
            f"{url(connected)}resubscribe/" in forms,
            f"{url(connected)}test/" in forms,
        )

    assert tabs == {
        "viewer": (False, False, False, False),
        "operator": (True, False, True, False),
        "superuser": (True, True, True, True),
    }


def test_it_makes_a_connection_for_a_site_that_has_none(client, superuser):
    site = Site.objects.create(name="From a shell")
    client.force_login(superuser)

    page = page_of(client.get(url(site)))

    assert "not configured" in page.texts
    assert "disabled" in page.with_attribute("data-action", "start")[0]


def test_it_needs_the_same_queries_for_any_number_of_devices(client, connected, viewer):
    client.force_login(viewer)
    make_devices(connected)
    with CaptureQueriesContext(connection) as few:
        client.get(url(connected))
    SensorDevice.objects.all().delete()
    connected.dataloggers.all().delete()
    connected.gateways.all().delete()
    make_devices(connected, dataloggers=20, sensors=10)

    with CaptureQueriesContext(connection) as many:
        response = client.get(url(connected))

    assert len(page_of(response).with_attribute("data-sensor-id")) == 200
    assert len(many) == len(few)


def test_it_turns_pages_of_many_dataloggers(client, connected, viewer):
    make_devices(connected, dataloggers=51)
    client.force_login(viewer)

    first = page_of(client.get(url(connected)))
    second = page_of(client.get(url(connected) + "?page=2"))
    beyond = page_of(client.get(url(connected) + "?page=nonsense"))

    assert len(first.with_attribute("data-datalogger-id")) == 50
    assert len(second.with_attribute("data-datalogger-id")) == 1
    assert "Page 1 of 2" in beyond.texts
    assert first.problems == []


@pytest.mark.parametrize("has_devices", [True, False])
def test_it_is_a_valid_page_without_anything_inline(
    client, connected, superuser, has_devices
):
    if has_devices:
        make_devices(connected, dataloggers=2, sensors=2)
    client.force_login(superuser)

    assert page_of(client.get(url(connected))).problems == []
