"""Streams of a real server on real sockets: what arrives, and when they end."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework_simplejwt.tokens import AccessToken

from apps.core import events, sse
from apps.core.tests.streaming import (
    EventClient,
    Received,
    own_valkey,
    wait_for,
    web_server,
)
from apps.sites.models import Reason, Site, SiteMember, Status, Visibility
from apps.sites.services import change_status, connection_of
from embedded.ports import LOOPBACK
from embedded.valkey import Valkey

pytestmark = pytest.mark.django_db(transaction=True)

RESYNC = Received("resync", {})
AWAY = Received("away", {})


@pytest.fixture
def valkey(settings: Settings, tmp_path: Path) -> Iterator[Valkey]:
    with own_valkey(settings, tmp_path) as valkey:
        yield valkey


@pytest.fixture
def port(valkey: Valkey) -> Iterator[int]:
    with web_server() as port:
        yield port


@pytest.fixture
def quick_recheck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RECHECK_EVERY_S", 0.1)


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {AccessToken.for_user(user)}"}


def cookie(user: User) -> dict[str, str]:
    client = Client()
    client.force_login(user)
    return {"Cookie": f"sessionid={client.session.session_key}"}


def set_status(site: Site, status: Status, reason: Reason = Reason.NONE) -> None:
    with transaction.atomic():
        change_status(connection_of(site), status=status, reason=reason)


def site_path(site: Site) -> str:
    return f"/events/sites/{site.pk}/"


@pytest.mark.parametrize("credentials", [bearer, cookie])
def test_it_opens_at_once_and_asks_proxies_not_to_buffer(
    credentials: Callable[[User], dict[str, str]], port: int, viewer: User
) -> None:
    with EventClient(port, "/events/status/", credentials(viewer)) as client:
        headers = client.response.headers

        assert client.status == 200
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache, no-transform"
        assert headers["X-Accel-Buffering"] == "no"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert {"Cookie", "Authorization"} <= set(headers["Vary"].split(", "))
        assert 1000 <= client.retry_ms <= 10_000


def test_a_changed_status_reaches_both_streams(
    port: int, north: Site, outsider: User
) -> None:
    with (
        EventClient(port, "/events/status/", cookie(outsider)) as status,
        EventClient(port, site_path(north), bearer(outsider)) as site,
    ):
        set_status(north, Status.ERROR, Reason.AUTH)

        data = {
            "site_id": north.pk,
            "status": "error",
            "is_enabled": False,
            "reason": "auth",
        }
        assert status.next() == site.next() == Received("status", data)


def test_a_hidden_sites_status_reaches_those_who_may_see_it_once(
    port: int, hidden: Site, viewer: User, outsider: User, superuser: User
) -> None:
    SiteMember.objects.create(site=hidden, user=superuser)
    with (
        EventClient(port, "/events/status/", cookie(viewer)) as member,
        EventClient(port, "/events/status/", cookie(superuser)) as chief,
        EventClient(port, "/events/status/", cookie(outsider)) as stranger,
    ):
        set_status(hidden, Status.CONNECTING)

        assert member.next().data["status"] == "connecting"
        assert chief.next().data["status"] == "connecting"
        assert member.all(during=0.5) == chief.all(during=0) == []
        assert stranger.all(during=0) == []


def test_it_ignores_channels_in_the_url(
    port: int, north: Site, hidden: Site, outsider: User
) -> None:
    path = f"{site_path(north)}?channel=site-{hidden.pk}&channels=site-{hidden.pk}"
    with EventClient(port, path, cookie(outsider)) as client:
        events.emit([events.site_channel(hidden.pk)], "telemetry", {"seq": 1})
        events.emit([events.site_channel(north.pk)], "telemetry", {"seq": 2})

        assert client.next() == Received("telemetry", {"seq": 2})


def test_events_keep_their_order_and_their_bodies(
    port: int, north: Site, viewer: User
) -> None:
    names = ("status", "device", "telemetry", "discovery")
    sent = [
        Received(names[n % 4], {"n": n, "text": 'à\n\r"€\u2028\x00', "value": 1.5})
        for n in range(80)
    ]
    with EventClient(port, site_path(north), cookie(viewer)) as client:
        for each in sent:
            assert events.emit([events.site_channel(north.pk)], each.event, each.data)

        assert [client.next() for _ in sent] == sent


def test_a_browser_that_returns_is_told_to_refetch(port: int, viewer: User) -> None:
    headers = {**cookie(viewer), "Last-Event-ID": "1"}

    with EventClient(port, "/events/status/", headers) as client:
        assert client.next() == RESYNC


def test_a_client_that_leaves_is_forgotten(port: int, viewer: User) -> None:
    for _ in range(3):
        with EventClient(port, "/events/status/", cookie(viewer)):
            wait_for(lambda: len(sse.manager().streams) == 1)

        wait_for(lambda: not sse.manager().streams)


@pytest.mark.usefixtures("quick_recheck")
def test_a_site_that_becomes_hidden_ends_the_outsiders_stream_only(
    port: int, north: Site, viewer: User, outsider: User
) -> None:
    with (
        EventClient(port, site_path(north), cookie(viewer)) as member,
        EventClient(port, site_path(north), cookie(outsider)) as by_session,
        EventClient(port, site_path(north), bearer(outsider)) as by_token,
    ):
        Site.objects.filter(pk=north.pk).update(visibility=Visibility.MEMBERS)

        wait_for(lambda: not by_session.is_open and not by_token.is_open)
        events.emit([events.site_channel(north.pk)], "telemetry", {"seq": 1})
        assert member.next() == Received("telemetry", {"seq": 1})
        assert by_session.all(during=0) == by_token.all(during=0) == []


@pytest.mark.usefixtures("quick_recheck")
def test_a_deactivated_user_hears_no_more(port: int, viewer: User) -> None:
    with (
        EventClient(port, "/events/status/", cookie(viewer)) as by_session,
        EventClient(port, "/events/status/", bearer(viewer)) as by_token,
    ):
        User.objects.filter(pk=viewer.pk).update(is_active=False)

        wait_for(lambda: not by_session.is_open and not by_token.is_open)


@pytest.mark.usefixtures("quick_recheck")
def test_logging_out_ends_the_sessions_streams(port: int, viewer: User) -> None:
    with EventClient(port, "/events/status/", cookie(viewer)) as client:
        Session.objects.all().delete()

        wait_for(lambda: not client.is_open)


@pytest.mark.usefixtures("quick_recheck")
def test_a_stream_does_not_outlive_its_token(port: int, viewer: User) -> None:
    token = AccessToken.for_user(viewer)
    token.set_exp(from_time=timezone.now(), lifetime=timedelta(seconds=8))
    headers = {"Authorization": f"Bearer {token}"}

    with EventClient(port, "/events/status/", headers) as client:
        assert client.status == 200
        wait_for(lambda: not client.is_open)


def test_redis_killed_and_restarted_costs_one_resync(
    port: int, valkey: Valkey, north: Site, viewer: User
) -> None:
    with (
        EventClient(port, site_path(north), cookie(viewer)) as site,
        EventClient(port, "/events/status/", cookie(viewer)) as status,
    ):
        valkey.kill()
        assert not events.emit([events.site_channel(north.pk)], "telemetry", {"n": 1})
        with EventClient(port, site_path(north), cookie(viewer)) as late:
            valkey.start()

            for client in (site, status, late):
                assert client.next() == AWAY
                assert client.next() == RESYNC
            set_status(north, Status.CONNECTED)
            for client in (site, status, late):
                assert client.next().data["status"] == "connected"
                assert client.all(during=0.5) == []


def test_a_frozen_redis_costs_one_resync(
    port: int, valkey: Valkey, north: Site, viewer: User
) -> None:
    with EventClient(port, site_path(north), cookie(viewer)) as client:
        valkey.freeze()
        wait_for(lambda: not sse.manager().hears)
        with EventClient(port, site_path(north), cookie(viewer)) as late:
            valkey.thaw()

            for each in (client, late):
                assert each.next_but(AWAY) == RESYNC
            events.emit([events.site_channel(north.pk)], "telemetry", {"seq": 1})
            for each in (client, late):
                assert each.next() == Received("telemetry", {"seq": 1})
                assert each.all(during=0.5) == []


def test_a_client_that_does_not_read_is_told_to_refetch(
    port: int, north: Site, viewer: User
) -> None:
    request = f"GET {site_path(north)} HTTP/1.0\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in cookie(viewer).items()
    )
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        stalled.connect((LOOPBACK, port))
        stalled.settimeout(10)
        stalled.sendall(request.encode() + b"Host: localhost\r\n\r\n")
        wait_for(lambda: sse.manager().streams)
        (stream,) = sse.manager().streams

        wait_for(lambda: _flood_until(north, lambda: stream.overflow))

        received = b""
        while b"event: resync" not in received[-200_000:]:
            part = stalled.recv(1_000_000)
            assert part
            received += part


def _flood_until(site: Site, is_enough: Callable[[], bool]) -> bool:
    for _ in range(20):
        events.emit([events.site_channel(site.pk)], "telemetry", {"x": "x" * 50_000})
    return is_enough()


def test_nothing_arrives_where_nothing_happens(port: int, viewer: User) -> None:
    with EventClient(port, "/events/status/", cookie(viewer)) as client:
        with pytest.raises(queue.Empty):
            client.next(within=0.5)

        assert client.is_open
