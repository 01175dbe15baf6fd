from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.devices.models import Datalogger, Presence
from apps.sites import selectors
from apps.sites.models import MqttConnection, Reason, Site, Status
from apps.sites.services import site_create
from apps.web.tests.conftest import MARKUP, make_devices
from apps.web.tests.pages import page_of


def rows_of(page):
    return {row["data-name"]: row for row in page.with_attribute("data-search")}


def test_it_shows_a_stranger_nothing(client, north):
    response = client.get("/")

    assert response.status_code == 302
    assert response.url.startswith("/login/")


def test_it_hides_a_members_only_site_from_others(client, north, hidden, outsider):
    client.force_login(outsider)

    assert set(rows_of(page_of(client.get("/")))) == {"North"}


def test_it_shows_a_members_only_site_to_its_members(client, north, hidden, viewer):
    client.force_login(viewer)

    assert set(rows_of(page_of(client.get("/")))) == {"Hidden", "North"}


@pytest.mark.parametrize(
    ("status", "look"),
    [
        (Status.CONNECTED, ("MQTT connected", "green", False)),
        (Status.CONNECTING, ("Connecting...", "blue", True)),
        (Status.DISCONNECTED, ("MQTT disconnected", "orange", False)),
        (Status.DISABLED, ("Disconnecting...", "orange", True)),
        (Status.ERROR, ("MQTT error", "red", False)),
    ],
)
def test_it_shows_each_status_as_its_badge(client, connected, viewer, status, look):
    text, tone, is_pulsing = look
    MqttConnection.objects.update(status=status)
    client.force_login(viewer)

    page = page_of(client.get("/"))

    badge = page.with_attribute("data-slot", "badge")[0]["class"]
    assert text in page.texts
    assert f"tone-{tone}" in badge
    assert ("is-pulsing" in badge) is is_pulsing


def test_it_says_why_and_since_when(client, connected, viewer):
    MqttConnection.objects.update(status=Status.ERROR, reason=Reason.DNS)
    client.force_login(viewer)

    page = page_of(client.get("/"))

    assert "host name not found" in page.texts
    assert "7 min ago" in page.texts
    assert "broker.example :1883" in page.text


def test_it_tells_the_truth_when_no_worker_is_alive(client, connected, viewer):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE sites_shardlease SET expires_at = now() - interval '1h'")
    client.force_login(viewer)

    page = page_of(client.get("/"))

    assert "MQTT error" in page.texts
    assert "no worker looks after this site" in page.texts
    assert "7 min ago" not in page.texts  # that was the age of the other status


def test_it_counts_the_connected_and_the_devices(client, connected, hidden, superuser):
    make_devices(connected, dataloggers=3)
    client.force_login(superuser)

    page = page_of(client.get("/"))

    assert "1 of 2 connected" in page.texts
    assert "1 of 3 online" in page.texts


@pytest.mark.parametrize(
    ("who", "may"),
    [("superuser", True), ("operator", True), ("viewer", False), ("outsider", False)],
)
def test_it_offers_buttons_only_to_those_who_may(client, connected, request, who, may):
    client.force_login(request.getfixturevalue(who))

    for path in ("/", f"/sites/{connected.pk}/"):
        page = page_of(client.get(path))
        assert bool(page.with_attribute("data-action")) is may


def test_it_escapes_a_name_full_of_markup(client, owned, superuser):
    site_create(name=MARKUP)
    client.force_login(superuser)

    html = client.get("/").content.decode()

    assert "<img src=x" not in html
    assert MARKUP in page_of(client.get("/")).texts


def test_it_filters_by_text_and_by_status(client, connected, hidden, superuser):
    client.force_login(superuser)

    by_text = rows_of(page_of(client.get("/?q=BROKER.exa%20nor")))
    by_status = rows_of(page_of(client.get("/?status=connected")))
    by_nonsense = rows_of(page_of(client.get("/?status=%3Cb%3E&q=")))

    assert "hidden" not in by_text["North"]
    assert "hidden" in by_text["Hidden"]
    assert "hidden" in by_status["Hidden"]
    assert "hidden" not in by_nonsense["Hidden"]


def test_it_needs_the_same_queries_for_any_number_of_sites(client, connected, viewer):
    client.force_login(viewer)
    make_devices(connected)
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/")
    for number in range(12):
        make_devices(site_create(name=f"Site {number}"), dataloggers=3)

    with CaptureQueriesContext(connection) as many:
        response = client.get("/")

    assert len(rows_of(page_of(response))) == 13
    assert len(many) == len(few)


def test_it_designs_the_empty_list(client, superuser, viewer):
    client.force_login(superuser)
    for_superuser = page_of(client.get("/"))
    client.force_login(viewer)
    Site.objects.all().delete()

    for_viewer = page_of(client.get("/"))

    assert "Add the first one" in for_superuser.text
    assert "Ask an administrator" in for_viewer.text
    assert for_superuser.problems == []


def test_it_says_when_a_change_takes_too_long(client, connected, superuser):
    MqttConnection.objects.update(
        status=Status.DISABLED,
        is_enabled=False,
        status_changed_at=timezone.now() - timedelta(seconds=36),
    )
    client.force_login(superuser)

    page = page_of(client.get("/"))

    assert "hidden" not in page.with_attribute("data-slot", "slow")[0]
    assert "disabled" not in page.with_attribute("data-action", "start")[0]


def test_it_gives_the_scripts_their_words_in_the_page_language(client, north, viewer):
    client.force_login(viewer)

    html = client.get("/", headers={"accept-language": "it"}).content.decode()

    found = re.search(
        r'<script id="texts" type="application/json">(.*?)</script>', html
    )
    assert found
    words = json.loads(found[1])
    assert words["badges"]["error"] == {
        "text": "Errore MQTT",
        "tone": "red",
        "isPulsing": False,
    }
    assert words["reasons"]["dns"] == "nome host non trovato"


@pytest.mark.parametrize("path", ["/", "/?q=zzz&status=error"])
def test_it_is_a_valid_page_without_anything_inline(client, connected, superuser, path):
    client.force_login(superuser)

    assert page_of(client.get(path)).problems == []


def test_it_shows_what_came_in_lately(client, connected, viewer, monkeypatch):
    def with_flow(user, rows):
        return [replace(state, per_minute=(0, 10, 1200)) for state in real(user, rows)]

    real = selectors.statuses_of
    monkeypatch.setattr("apps.web.rows.statuses_of", with_flow)
    client.force_login(viewer)

    page = page_of(client.get("/"))

    assert page.with_attribute("d", "M54 15L56 15L58 1")
    assert "1,200" in page.texts
    assert "1,200 messages a minute" in page.texts


def test_it_names_the_devices_that_are_missing(client, connected, viewer):
    devices = make_devices(connected, dataloggers=4)
    Datalogger.objects.filter(pk=devices[3].pk).update(presence=Presence.UNKNOWN)
    client.force_login(viewer)

    page = page_of(client.get("/"))

    assert "1 of 4 online" in page.texts
    assert "2 offline · 1 unknown" in page.texts
    assert "1 of 4 dataloggers online" in page.texts


def test_it_lets_nothing_through_the_quick_way_of_writing(client, connected, superuser):
    Site.objects.update(name="{search} {{ x }} {0}" + MARKUP)
    client.force_login(superuser)

    response = client.get("/")

    assert "{search} {{ x }} {0}" + MARKUP in page_of(response).texts
    assert page_of(response).problems == []
