"""Who may watch a site's messages, and for how long one request has them shown."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.core import events
from apps.core.redis import RedisError, client, tail_key
from apps.core.tests.clients import client_of, is_error
from apps.sites import tail
from apps.sites.models import Site
from apps.sites.streams import messages_stream_channels


def test_a_stream_of_messages_follows_the_sites_visibility(
    hidden: Site, viewer: User, outsider: User
) -> None:
    for_member = messages_stream_channels(viewer, hidden.pk)

    assert for_member == frozenset({events.messages_channel(hidden.pk)})
    assert messages_stream_channels(outsider, hidden.pk) is None


def test_messages_are_not_on_the_sites_own_channel() -> None:
    assert events.messages_channel(1) != events.site_channel(1)


@pytest.mark.django_db
def test_a_stranger_hears_no_messages(north: Site, client: Client) -> None:
    assert client.get(f"/events/sites/{north.pk}/messages/").status_code == 401


def test_a_request_has_messages_shown_for_some_seconds(
    north: Site, viewer: User
) -> None:
    before = tail.watched([north.pk])

    answer = client_of(viewer).post(f"/api/v1/mqtt/sites/{north.pk}/messages/watch/")

    key = tail_key(north.pk)
    assert answer.json() == {"watched_for_s": 15}
    assert before == frozenset()
    assert tail.watched([north.pk, north.pk + 1]) == {north.pk}
    assert 0 < client().ttl(key) <= 15
    client().delete(key)


def test_it_says_when_nobody_can_be_asked(
    north: Site, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(site_id: int) -> None:
        raise RedisError

    monkeypatch.setattr(tail, "watch", away)

    answer = client_of(viewer).post(f"/api/v1/mqtt/sites/{north.pk}/messages/watch/")

    assert answer.status_code == 503
    assert is_error(answer.json())


def test_nobody_is_asked_about_no_site() -> None:
    assert tail.watched([]) == frozenset()
