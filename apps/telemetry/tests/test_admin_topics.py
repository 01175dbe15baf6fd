"""Discovered topics in the admin: ignored, put back, accepted only with a mapping."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.core import events
from apps.devices.discovery import note
from apps.devices.models import DiscoveredTopic, DiscoverySession
from apps.devices.tests.sightings import seen
from apps.sites import commands
from apps.sites.models import Site
from apps.sites.tests.builders import configured, running
from apps.telemetry.accepting import topic_decide
from apps.telemetry.models import TopicMapping


@pytest.fixture(autouse=True)
def _redis_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "emit", lambda *_: True)
    monkeypatch.setattr(commands, "send_discover", lambda *_: True)


@pytest.fixture
def admin(client: Client, superuser: User) -> Client:
    client.force_login(superuser)
    return client


@pytest.fixture
def accepted(north: Site) -> DiscoveredTopic:
    configured(north)
    note(seen(north, f"{north.code}/valve", payload=b"4"))
    return topic_decide(
        DiscoveredTopic.objects.get(),
        state="accepted",
        mapping={
            "datalogger_type": "valve",
            "datalogger_number": "1",
            "values": [{"path": "$", "key": "open"}],
        },
    )


LIST = "admin:devices_discoveredtopic_changelist"
CHANGE = "admin:devices_discoveredtopic_change"


def act(admin: Client, address: str, action: str, *ids: int) -> Any:
    return admin.post(
        reverse(address), {"action": action, "_selected_action": ids}, follow=True
    )


def test_topics_are_ignored_with_their_mappings(
    admin: Client, north: Site, accepted: DiscoveredTopic
) -> None:
    note(seen(north, "other"))
    ids = DiscoveredTopic.objects.values_list("pk", flat=True)

    page = act(admin, LIST, "ignore", *ids)

    assert page.status_code == 200
    assert set(DiscoveredTopic.objects.values_list("state", flat=True)) == {"ignored"}
    assert not TopicMapping.objects.exists()


def test_only_the_state_is_written(admin: Client, accepted: DiscoveredTopic) -> None:
    url = reverse(CHANGE, args=[accepted.pk])

    admin.post(url, {"state": "new", "topic": "x", "message_count": 99})

    accepted.refresh_from_db()
    assert (accepted.state, accepted.message_count) == ("new", 1)
    assert accepted.topic.endswith("/valve")
    assert not TopicMapping.objects.exists()


def test_nothing_is_accepted_without_a_mapping(admin: Client, north: Site) -> None:
    note(seen(north, f"{north.code}/valve"))
    topic = DiscoveredTopic.objects.get()

    page = admin.post(reverse(CHANGE, args=[topic.pk]), {"state": "accepted"})

    topic.refresh_from_db()
    assert (page.status_code, topic.state) == (200, "new")
    assert b"errorlist" in page.content


def test_a_deleted_topic_takes_its_mapping_along(
    admin: Client, accepted: DiscoveredTopic
) -> None:
    url = reverse("admin:devices_discoveredtopic_delete", args=[accepted.pk])

    admin.post(url, {"post": "yes"})

    assert not DiscoveredTopic.objects.exists()
    assert not TopicMapping.objects.exists()


def test_sites_and_connections_can_be_discovered(
    admin: Client, north: Site, hidden: Site
) -> None:
    connection = running(north)

    by_site = act(admin, "admin:sites_site_changelist", "discover", north.pk, hidden.pk)
    by_connection = act(
        admin, "admin:sites_mqttconnection_changelist", "discover", connection.pk
    )

    assert DiscoverySession.objects.get().duration_s == 60
    assert b"North is being discovered." in by_site.content
    assert b"is not connected" in by_site.content
    assert b"is being discovered already" in by_connection.content
