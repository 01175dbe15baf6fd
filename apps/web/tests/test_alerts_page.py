from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.alerts.models import Alert, AlertKind
from apps.devices.models import OfflineCause
from apps.sites.models import Reason
from apps.web.tests.conftest import MARKUP
from apps.web.tests.pages import page_of


def make_alert(site, *, subject="Boiler", closed=False, confirmed=True, **fields):
    now = timezone.now()
    return Alert.objects.create(
        **{"kind": AlertKind.CONNECTION, "cause": Reason.LOST} | fields,
        site=site,
        subject=subject,
        opened_at=now - timedelta(minutes=9),
        confirmed_at=now if confirmed else None,
        closed_at=now if closed else None,
    )


def test_it_sends_a_stranger_to_the_login(client, north):
    assert client.get("/alerts/").url.startswith("/login/")


def test_it_shows_what_is_open_and_what_was(client, north, viewer):
    make_alert(north, subject="Open one")
    make_alert(north, subject="Old one", closed=True)
    make_alert(north, subject="Perhaps", confirmed=False)
    client.force_login(viewer)

    page = page_of(client.get("/alerts/"))

    assert "Open one" in page.texts
    assert "Old one" in page.texts
    assert "Perhaps" not in page.text  # nobody was told yet
    assert "connection lost" in page.texts
    assert "9 min ago" in page.texts
    assert page.problems == []


def test_it_hides_alerts_of_hidden_sites(client, hidden, outsider, viewer):
    make_alert(hidden, subject="Secret")
    client.force_login(outsider)
    for_outsider = page_of(client.get("/alerts/")).text
    client.force_login(viewer)

    assert "Secret" not in for_outsider
    assert "Nothing is wrong at this moment." in for_outsider
    assert "Secret" in page_of(client.get("/alerts/")).text


@pytest.mark.parametrize("language", ["en", "it"])
def test_it_escapes_and_translates(client, north, viewer, language):
    make_alert(
        north, subject=MARKUP, kind=AlertKind.DATALOGGER, cause=OfflineCause.SILENCE
    )
    client.force_login(viewer)

    response = client.get("/alerts/", headers={"accept-language": language})

    assert b"<img src=x" not in response.content
    assert MARKUP in page_of(response).texts
    assert ("Allarmi" in page_of(response).texts) is (language == "it")


def test_it_needs_the_same_queries_for_any_number_of_alerts(client, north, viewer):
    client.force_login(viewer)
    make_alert(north)
    make_alert(north, closed=True)
    with CaptureQueriesContext(connection) as few:
        client.get("/alerts/")
    for number in range(30):
        make_alert(north, subject=f"Alert {number}", closed=number % 2)

    with CaptureQueriesContext(connection) as many:
        client.get("/alerts/")

    assert len(many) == len(few)
