from __future__ import annotations

import pytest
from django.test import Client

from apps.sites.models import MqttConnection
from apps.web.tests.pages import page_of


@pytest.fixture(autouse=True)
def sent(monkeypatch):
    """What would be sent to the workers."""
    found: list[tuple[str, int]] = []
    for name in ("send_ensure", "send_drop"):

        def send(site_id, name=name):
            found.append((name, site_id))
            return True

        monkeypatch.setattr(f"apps.sites.commands.{name}", send)
    return found


def wanted(site):
    return MqttConnection.objects.values_list("is_enabled", "status").get(site=site)


@pytest.mark.parametrize("who", ["superuser", "operator"])
def test_it_starts_and_stops_without_a_script(client, stopped, request, who, sent):
    client.force_login(request.getfixturevalue(who))
    commits = request.getfixturevalue("django_capture_on_commit_callbacks")

    with commits(execute=True):
        started = client.post(f"/sites/{stopped.pk}/start/", {"next": "/?q=nor"})
    after_start = wanted(stopped)
    with commits(execute=True):
        ended = client.post(f"/sites/{stopped.pk}/stop/")

    assert started.url == "/?q=nor"
    assert after_start == (True, "connecting")
    assert ended.url == f"/sites/{stopped.pk}/"
    assert wanted(stopped) == (False, "disabled")
    assert sent == [("send_ensure", stopped.pk), ("send_drop", stopped.pk)]


def test_it_restarts_on_a_new_link_without_a_script(
    client, stopped, operator, sent, django_capture_on_commit_callbacks
):
    client.force_login(operator)
    before = MqttConnection.objects.get(site=stopped)

    with django_capture_on_commit_callbacks(execute=True):
        response = client.post(f"/sites/{stopped.pk}/restart/", follow=True)

    after = MqttConnection.objects.get(site=stopped)
    assert "Restart requested: North" in page_of(response).texts
    assert wanted(stopped) == (True, "connecting")
    assert (after.restarts, after.generation) == (1, before.generation + 1)
    assert sent == [("send_ensure", stopped.pk)]


def test_it_says_what_was_asked(client, stopped, superuser):
    client.force_login(superuser)

    response = client.post(f"/sites/{stopped.pk}/start/", follow=True)

    assert "Start requested: North" in page_of(response).texts


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_it_refuses_a_stranger(client, stopped, action):
    response = client.post(f"/sites/{stopped.pk}/{action}/")

    assert response.url == f"/login/?next=/sites/{stopped.pk}/"
    assert wanted(stopped) == (False, "disconnected")


@pytest.mark.parametrize("who", ["viewer", "outsider"])
@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_it_refuses_those_who_may_only_look(client, stopped, request, who, action):
    client.force_login(request.getfixturevalue(who))

    response = client.post(f"/sites/{stopped.pk}/{action}/")

    assert response.status_code == 403
    assert wanted(stopped) == (False, "disconnected")
    assert page_of(response).problems == []


def test_it_knows_no_hidden_site(client, hidden, outsider):
    client.force_login(outsider)

    assert client.post(f"/sites/{hidden.pk}/start/").status_code == 404


def test_it_changes_nothing_on_get(client, stopped, superuser):
    client.force_login(superuser)

    assert client.get(f"/sites/{stopped.pk}/start/").status_code == 405
    assert wanted(stopped) == (False, "disconnected")


def test_it_wants_the_token_of_the_form(stopped, superuser):
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)

    response = client.post(f"/sites/{stopped.pk}/start/")

    assert response.status_code == 403
    assert "Please try again" in page_of(response).text
    assert wanted(stopped) == (False, "disconnected")


def test_it_says_that_there_is_no_broker(client, north, superuser):
    client.force_login(superuser)

    response = client.post(f"/sites/{north.pk}/start/", follow=True)

    assert "This site has no broker yet." in page_of(response).texts
    assert wanted(north) == (False, "disconnected")


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"]
)
def test_it_returns_to_no_other_host(client, stopped, superuser, target):
    client.force_login(superuser)

    response = client.post(f"/sites/{stopped.pk}/stop/", {"next": target})

    assert response.url == f"/sites/{stopped.pk}/"
