"""What is done on a site's pages: trials, subscriptions, discovery."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.devices.models import DiscoveredTopic, DiscoverySession
from apps.sites import trials
from apps.web.tests.conftest import MARKUP
from apps.web.tests.pages import page_of
from apps.web.tests.site_tabs import find_topic, post, url


def test_it_subscribes_again_on_demand(client, connected, operator, worker):
    client.force_login(operator)

    response = post(client, url(connected, "resubscribe/"))

    assert response.json()["tone"] == "green"
    assert worker == [("send_resubscribe", (connected.pk,))]


def test_it_says_why_it_did_not_subscribe(client, stopped, operator, worker):
    client.force_login(operator)

    scripted = post(client, url(stopped, "resubscribe/"))
    plain = client.post(url(stopped, "resubscribe/"), follow=True)

    assert scripted.status_code == 409
    assert "start it first" in scripted.json()["text"]
    assert "start it first" in page_of(plain).text
    assert worker == []


def test_it_shows_the_steps_of_a_test(client, connected, superuser, monkeypatch):
    steps = [
        {"name": "dns", "ok": True, "ms": 1.3, "problem": "", "detail": "10.0.0.1"},
        {"name": "tls", "ok": None, "ms": 0.0, "problem": "", "detail": ""},
        {
            "name": "suback",
            "ok": False,
            "ms": 3.0,
            "problem": "filters_refused",
            "detail": MARKUP,
            "filters": [{"filter": "a/+", "ok": False}],
        },
    ]
    monkeypatch.setattr(trials, "run", lambda row, given: {"ok": False, "steps": steps})
    client.force_login(superuser)

    page = page_of(post(client, url(connected, "test/")))

    assert page.problems == []
    assert "The connection does not work" in page.texts
    assert {"good · 1.3 ms", "skipped", "failed · 3 ms", MARKUP, "a/+"} <= set(
        page.texts
    )


def test_it_says_that_no_worker_took_the_test(
    client, connected, superuser, monkeypatch
):
    def nobody(row, given):
        raise trials.NoWorkerError

    monkeypatch.setattr(trials, "run", nobody)
    client.force_login(superuser)

    page = page_of(post(client, url(connected, "test/")))

    assert "The test could not be made" in page.texts


def test_it_starts_and_stops_to_listen(client, connected, superuser, worker):
    client.force_login(superuser)

    started = post(
        client,
        url(connected, "topics/discover/"),
        duration_s="30",
        filters="a/#\n\n b ",
    )
    again = post(client, url(connected, "topics/discover/"), duration_s="30")
    stopped_ = post(client, url(connected, "topics/discover/"), stop="1")

    session = DiscoverySession.objects.get()
    assert (session.duration_s, session.filters) == (30, ["a/#", "b"])
    assert [started.status_code, again.status_code, stopped_.status_code] == [
        200,
        409,
        200,
    ]
    assert "already" in again.json()["text"]
    assert session.state == "finished"


def test_it_says_that_it_listens_when_the_broker_has_said_so(
    client, connected, superuser
):
    client.force_login(superuser)
    session = DiscoverySession.objects.create(
        site=connected, username="root", duration_s=60, taken_at=timezone.now()
    )
    taken = page_of(client.get(url(connected, "topics/")))
    session.state, session.started_at = "running", timezone.now()
    session.save()
    heard = page_of(client.get(url(connected, "topics/")))

    assert "waiting for the broker" in taken.texts
    assert "listening" in heard.texts


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"duration_s": "0"}, "duration"),
        ({"duration_s": "x"}, "duration"),
        ({"duration_s": "9" * 30}, "duration"),
        ({"duration_s": "5", "filters": "a#"}, "filters"),
    ],
)
def test_it_keeps_a_wrong_wish_and_says_what_is_wrong(
    client, connected, superuser, given, field
):
    client.force_login(superuser)

    response = post(client, url(connected, "topics/discover/"), **given)
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert page.with_attribute("id", f"{field}-error")
    assert not DiscoverySession.objects.exists()


def test_it_ignores_puts_back_and_forgets_a_topic(client, connected, superuser):
    topic = find_topic(connected)
    client.force_login(superuser)
    states: list[str] = []
    for state in ("ignored", "new", "forgotten"):
        path = url(connected, f"topics/{topic.pk}/decide/")
        assert post(client, path, state=state).status_code == 200
        states += DiscoveredTopic.objects.values_list("state", flat=True) or ["gone"]

    assert states == ["ignored", "new", "gone"]
    assert post(client, path, state="new").status_code == 404


def test_no_topic_is_accepted_without_a_mapping(client, connected, superuser):
    topic = find_topic(connected)
    client.force_login(superuser)

    response = post(
        client, url(connected, f"topics/{topic.pk}/decide/"), state="accepted"
    )

    assert response.status_code == 404
    assert DiscoveredTopic.objects.get().state == "new"
