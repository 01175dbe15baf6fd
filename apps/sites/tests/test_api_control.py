"""Start and stop over the API, in the words of the documents."""

from __future__ import annotations

import pytest

from apps.core.tests.clients import client_of, is_error
from apps.sites.models import MqttConnection
from apps.sites.tests.builders import configured, running

ENABLED = "Site {} enabled. Connection will be started by the monitor shortly."
DISABLED = "Site {} disabled. Connection will be stopped by the monitor shortly."


@pytest.mark.parametrize("by", ["sites/{site}/start/", "connections/{row}/enable/"])
def test_start_says_it_in_the_documents_words(operator, north, by):
    row = configured(north)
    path = "/api/v1/mqtt/" + by.format(site=north.pk, row=row.pk)

    answer = client_of(operator).post(path, headers={"accept-language": "it"})

    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": ENABLED.format(north.pk)}
    after = MqttConnection.objects.get(pk=row.pk)
    assert (after.is_enabled, after.status) == (True, "connecting")
    assert after.generation == row.generation + 1


@pytest.mark.parametrize("by", ["sites/{site}/stop/", "connections/{row}/disable/"])
def test_stop_says_it_in_the_documents_words(operator, north, by):
    row = running(north)
    path = "/api/v1/mqtt/" + by.format(site=north.pk, row=row.pk)

    answer = client_of(operator).post(path)

    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": DISABLED.format(north.pk)}
    after = MqttConnection.objects.get(pk=row.pk)
    assert (after.is_enabled, after.status) == (False, "disabled")


def test_a_site_without_a_broker_cannot_be_started(superuser, north):
    answer = client_of(superuser).post(f"/api/v1/mqtt/sites/{north.pk}/start/")

    assert answer.status_code == 409
    assert answer.json()["code"] == "not_configured"
    assert is_error(answer.json())
    assert not MqttConnection.objects.get(site=north).is_enabled


def test_a_refused_start_changes_nothing(viewer, north):
    before = configured(north)

    client_of(viewer).post(f"/api/v1/mqtt/sites/{north.pk}/start/")

    after = MqttConnection.objects.get(pk=before.pk)
    assert (after.is_enabled, after.generation) == (False, before.generation)


def test_a_session_needs_the_csrf_token_to_start(operator, north, client):
    configured(north)
    client.handler.enforce_csrf_checks = True
    client.force_login(operator)

    answer = client.post(f"/api/v1/mqtt/sites/{north.pk}/start/")

    assert answer.status_code == 403
    assert is_error(answer.json())
    assert not MqttConnection.objects.get(site=north).is_enabled
