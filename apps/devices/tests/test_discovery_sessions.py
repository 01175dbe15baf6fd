"""Discovery sessions from start to end, without a worker."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.devices import discovery_sessions
from apps.devices.discovery_sessions import (
    claim,
    close,
    close_left_behind,
    close_overdue,
)
from apps.devices.models import DiscoverySession, SessionState
from apps.sites import commands
from apps.sites.models import Site
from apps.sites.tests.builders import configured, running

NOW = timezone.now()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was sent to the worker: (site id, session id)."""
    calls: list[tuple[int, int]] = []

    def send(site_id: int, session_id: int) -> bool:
        calls.append((site_id, session_id))
        return True

    monkeypatch.setattr(commands, "send_discover", send)
    return calls


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The states that were announced."""
    states: list[str] = []
    monkeypatch.setattr(
        discovery_sessions, "announce", lambda session, *_: states.append(session.state)
    )
    return states


def start(user: User, site: Site, **body: Any) -> Any:
    url = f"/api/v1/mqtt/sites/{site.pk}/discover/"
    # Not `format="json"`: that cannot send half of a surrogate pair, others can.
    return client_of(user).generic(
        "POST", url, json.dumps(body), content_type="application/json"
    )


def test_it_answers_at_once_and_tells_the_worker(
    superuser: User, north: Site, sent: list[tuple[int, int]], told: list[str]
) -> None:
    running(north)

    answer = start(superuser, north, duration_s=90, filters=["a/+", "a/+", "#"])

    body = answer.json()
    assert answer.status_code == 202
    assert sent == [(north.pk, body["id"])]
    assert told == ["waiting"]
    assert (body["state"], body["duration_s"], body["username"]) == (
        "waiting",
        90,
        "superuser",
    )
    assert body["filters"] == ["a/+", "#"]
    assert 85 < body["seconds_left"] <= 90
    assert body["ends_at"] > body["created_at"]


def test_one_session_a_site_at_a_time(
    superuser: User, north: Site, hidden: Site, sent: list[tuple[int, int]]
) -> None:
    running(north)
    running(hidden)
    start(superuser, north)

    again = start(superuser, north)
    other = start(superuser, hidden)

    assert (again.status_code, again.json()["code"]) == (409, "already_running")
    assert other.status_code == 202
    assert len(sent) == 2


@pytest.mark.parametrize("is_configured", [True, False])
def test_a_site_that_is_not_connected_is_not_listened_to(
    superuser: User, north: Site, sent: list[tuple[int, int]], is_configured: bool
) -> None:
    if is_configured:
        configured(north)

    answer = start(superuser, north)

    assert (answer.status_code, answer.json()["code"]) == (409, "not_connected")
    assert sent == []


def test_without_redis_the_session_fails_at_once(
    superuser: User, north: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(north)
    monkeypatch.setattr(commands, "send_discover", lambda *_: False)

    answer = start(superuser, north)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert DiscoverySession.objects.get().state == SessionState.FAILED


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"duration_s": 0}, "duration_s"),
        ({"duration_s": 601}, "duration_s"),
        ({"duration_s": 2**70}, "duration_s"),
        ({"duration_s": "x"}, "duration_s"),
        ({"duration_s": None}, "duration_s"),
        ({"filters": ["a"] * 21}, "filters"),
        ({"filters": "a"}, "filters"),
        ({"filters": [""]}, "filters.0"),
        ({"filters": ["a/#/b"]}, "filters.0"),
        ({"filters": ["ok", "a\0"]}, "filters.1"),
        ({"filters": ["\ud800"]}, "filters.0"),
        ({"filters": ["$share/g/#"]}, "filters.0"),
        ({"filters": ["x" * 1_025]}, "filters.0"),
    ],
)
def test_it_refuses_what_is_no_session(
    superuser: User, north: Site, body: dict[str, Any], field: str
) -> None:
    answer = start(superuser, north, **body)

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [field]


def test_a_person_ends_it_early(
    superuser: User,
    north: Site,
    sent: list[tuple[int, int]],
    told: list[str],
    django_capture_on_commit_callbacks: Any,
) -> None:
    running(north)
    session_id = start(superuser, north).json()["id"]
    claim(session_id)
    url = f"/api/v1/mqtt/sites/{north.pk}/discover/"

    with django_capture_on_commit_callbacks(execute=True):
        ended = client_of(superuser).delete(url)
        again = client_of(superuser).delete(url)

    [session] = client_of(superuser).get(url).json()["sessions"]
    assert (ended.status_code, again.status_code) == (204, 204)
    assert (session["state"], session["detail"]) == (
        "finished",
        "Stopped by superuser",
    )
    assert session["seconds_left"] == 0
    assert told == ["waiting", "finished"]


def test_only_one_worker_takes_a_session(north: Site) -> None:
    session = DiscoverySession.objects.create(site=north, username="u", duration_s=60)

    first, second = claim(session.pk), claim(session.pk)

    assert first is not None
    assert (first.state, first.started_at) == ("waiting", None)  # for the broker's word
    assert first.taken_at is not None
    assert second is None
    assert claim(2**40) is None


@pytest.mark.parametrize(
    ("state", "since", "age_s", "why"),
    [
        ("waiting", "created_at", 80, ""),
        ("waiting", "created_at", 100, "No worker took it"),
        ("waiting", "taken_at", 50, ""),
        ("waiting", "taken_at", 70, "Its worker is gone"),
        ("running", "started_at", 100, ""),
        ("running", "started_at", 130, "Its worker is gone"),
        ("finished", "started_at", 10_000, ""),
    ],
)
def test_a_session_whose_worker_is_gone_is_closed(
    north: Site, state: str, since: str, age_s: int, why: str
) -> None:
    then = NOW - timedelta(seconds=age_s)
    session = DiscoverySession.objects.create(
        site=north, username="u", duration_s=60, state=state, **{since: then}
    )

    with override_settings(RECONCILE_INTERVAL=30):
        count = close_overdue(NOW)

    session.refresh_from_db()
    assert count == bool(why)
    assert (session.state, session.detail) == ("failed" if why else state, why)


def test_a_new_owner_closes_what_the_one_before_listened_to(
    north: Site, hidden: Site, settings: Any
) -> None:
    settings.MQTT_SHARDS = 2
    third = Site.objects.create(name="Third", pk=north.pk + 2)
    assert hidden.pk == north.pk + 1
    make = DiscoverySession.objects.create
    taken = make(site=north, duration_s=600, taken_at=NOW)
    waits = make(site=third, duration_s=600)
    others = make(site=hidden, duration_s=600, taken_at=NOW)

    own = close_left_behind(north.pk % 2, but=[taken.pk])
    counts = [close_left_behind(north.pk % 2) for _ in range(2)]

    for session in (taken, waits, others):
        session.refresh_from_db()
    assert (own, counts) == (0, [1, 0])
    assert (taken.state, taken.detail) == ("failed", "Its worker is gone")
    assert (waits.state, others.state) == ("waiting", "waiting")


def test_what_is_closed_stays_as_it_was_closed(north: Site) -> None:
    session = DiscoverySession.objects.create(site=north, username="u", duration_s=60)
    close(session.pk, SessionState.FAILED, "first")

    again = close(session.pk, SessionState.FINISHED, "second")

    session.refresh_from_db()
    assert not again
    assert (session.state, session.detail) == ("failed", "first")


def test_old_sessions_are_forgotten(
    superuser: User, north: Site, sent: list[tuple[int, int]]
) -> None:
    running(north)
    DiscoverySession.objects.bulk_create(
        DiscoverySession(
            site=north,
            username="u",
            duration_s=60,
            state="finished",
            created_at=NOW - timedelta(days=age),
        )
        for age in range(60)
    )

    start(superuser, north)

    assert DiscoverySession.objects.filter(site=north).count() == 50
