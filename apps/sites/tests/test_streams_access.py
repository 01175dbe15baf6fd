"""Who gets which stream: refusals, and the channels behind each address."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from apps.core.permits import (
    Credentials,
    NoSuchStreamError,
    NotAuthenticatedError,
    issue,
    still_good,
    users_of,
)
from apps.sites.models import Site, SiteMember, Visibility
from apps.sites.streams import site_stream_channels, status_stream_channels

pytestmark = pytest.mark.django_db

STATUS = "/events/status/"


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {AccessToken.for_user(user)}"}


def session_of(user: User) -> Credentials:
    client = Client()
    client.force_login(user)
    return Credentials(None, client.session.session_key)


def token_of(user: User) -> Credentials:
    return Credentials(str(AccessToken.for_user(user)).encode(), None)


def assert_refused(response: Any, status: int, code: str) -> None:
    assert response.status_code == status
    body = response.json()
    assert (body["code"], body["fields"]) == (code, {})
    assert body["message"]
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", [STATUS, "/events/status", "/events/sites/1/"])
def test_it_refuses_a_stranger(path: str, client: Client) -> None:
    assert_refused(client.get(path), 401, "not_authenticated")


def test_a_stranger_does_not_learn_which_sites_exist(
    north: Site, client: Client
) -> None:
    for site_id in (north.pk, 10**6):
        response = client.get(f"/events/sites/{site_id}/")

        assert_refused(response, 401, "not_authenticated")


def test_it_takes_no_token_from_the_url(superuser: User, client: Client) -> None:
    token = AccessToken.for_user(superuser)

    for name in ("token", "access_token", "access", "jwt", "es-meta"):
        response = client.get(f"{STATUS}?{name}={token}")

        assert_refused(response, 401, "not_authenticated")


def test_it_takes_no_ticket_of_django_eventstream(
    superuser: User, client: Client
) -> None:
    ticket = jwt.encode(
        {"exp": 2**32, "user": str(superuser.pk), "channels": ["status"]},
        settings.SECRET_KEY,
    )

    for wrong in (ticket, "broken"):
        response = client.get(f"{STATUS}?es-meta={wrong}")

        assert_refused(response, 401, "not_authenticated")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Bearer a b", "Bearer \xff", "Basic eDp4", "é" * 9]
)
def test_it_refuses_a_header_that_is_no_token(header: str, client: Client) -> None:
    response = client.get(STATUS, headers={"Authorization": header})

    assert_refused(response, 401, "not_authenticated")


def test_it_refuses_a_strangers_token(superuser: User, client: Client) -> None:
    claims = {"token_type": "access", "user_id": str(superuser.pk), "exp": 2**32}
    forged = jwt.encode({**claims, "jti": "x"}, "another secret, long enough for HS256")
    unsigned = jwt.encode({**claims, "jti": "x"}, "", algorithm="none")

    for token in (forged, unsigned):
        response = client.get(STATUS, headers={"Authorization": f"Bearer {token}"})

        assert_refused(response, 401, "not_authenticated")


def test_it_refuses_an_expired_token(superuser: User, client: Client) -> None:
    token = AccessToken.for_user(superuser)
    token.set_exp(from_time=timezone.now() - timedelta(hours=2))

    response = client.get(STATUS, headers={"Authorization": f"Bearer {token}"})

    assert_refused(response, 401, "not_authenticated")


def test_it_refuses_a_refresh_token(superuser: User, client: Client) -> None:
    token = RefreshToken.for_user(superuser)

    response = client.get(STATUS, headers={"Authorization": f"Bearer {token}"})

    assert_refused(response, 401, "not_authenticated")


def test_a_bad_token_is_not_healed_by_a_session(
    superuser: User, client: Client
) -> None:
    client.force_login(superuser)

    response = client.get(STATUS, headers={"Authorization": "Bearer x"})

    assert_refused(response, 401, "not_authenticated")


def test_it_refuses_an_inactive_user(viewer: User, client: Client) -> None:
    headers = bearer(viewer)
    client.force_login(viewer)
    viewer.is_active = False
    viewer.save()

    assert_refused(client.get(STATUS), 401, "not_authenticated")
    assert_refused(client.get(STATUS, headers=headers), 401, "not_authenticated")


def test_it_refuses_the_token_of_a_user_who_is_gone(
    viewer: User, client: Client
) -> None:
    headers = bearer(viewer)
    viewer.delete()

    assert_refused(client.get(STATUS, headers=headers), 401, "not_authenticated")


def test_a_hidden_site_does_not_exist_for_an_outsider(
    hidden: Site, outsider: User, client: Client
) -> None:
    client.force_login(outsider)

    there = client.get(f"/events/sites/{hidden.pk}/")
    not_there = client.get(f"/events/sites/{hidden.pk + 1000}/")

    assert_refused(there, 404, "not_found")
    assert there.content == not_there.content


@pytest.mark.parametrize("site_id", ["0", "9" * 30, "-1", "x", "1/2", "%00"])
def test_a_site_that_cannot_exist_is_not_found(
    site_id: str, superuser: User, client: Client
) -> None:
    client.force_login(superuser)

    response = client.get(f"/events/sites/{site_id}/")

    assert_refused(response, 404, "not_found")


def test_django_eventstreams_own_addresses_are_not_there(
    superuser: User, client: Client
) -> None:
    client.force_login(superuser)

    for path in ("/events/", "/events/?channel=status", "/events/status/x"):
        assert_refused(client.get(path), 404, "not_found")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "head"])
def test_a_stream_is_only_read(method: str, superuser: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)

    response = getattr(client, method)(STATUS)

    assert response.status_code == 405
    assert response.headers["Allow"] == "GET"


def test_the_refusal_speaks_the_users_language(client: Client) -> None:
    response = client.get(STATUS, headers={"Accept-Language": "it"})

    assert response.headers["Content-Language"] == "it"


def test_a_users_status_stream_has_the_users_channels_only(
    viewer: User, superuser: User
) -> None:
    assert status_stream_channels(viewer) == {"status", f"status-user-{viewer.pk}"}
    assert status_stream_channels(superuser) == {
        "status",
        f"status-user-{superuser.pk}",
        "status-superusers",
    }


def test_a_site_stream_follows_the_sites_visibility(
    north: Site, hidden: Site, viewer: User, outsider: User, superuser: User
) -> None:
    open_channels = frozenset({f"site-{north.pk}"})
    hidden_channels = frozenset({f"site-{hidden.pk}"})

    assert site_stream_channels(outsider, north.pk) == open_channels
    assert site_stream_channels(outsider, hidden.pk) is None
    assert site_stream_channels(viewer, hidden.pk) == hidden_channels
    assert site_stream_channels(superuser, hidden.pk) == hidden_channels


def test_a_permit_is_good_for_as_long_as_it_would_be_issued(
    hidden: Site, viewer: User
) -> None:
    now = timezone.now()
    permits = {
        issue(credentials, site_stream_channels, (hidden.pk,), now=now)
        for credentials in (session_of(viewer), token_of(viewer))
    }
    assert still_good(permits, now=now) == permits

    SiteMember.objects.filter(user=viewer).delete()
    assert still_good(permits, now=now) == set()

    hidden.visibility = Visibility.ALL_USERS
    hidden.save()
    assert still_good(permits, now=now) == permits

    hidden.delete()
    assert still_good(permits, now=now) == set()


def test_it_issues_nothing_that_it_would_not_renew(
    hidden: Site, outsider: User
) -> None:
    now = timezone.now()

    with pytest.raises(NoSuchStreamError):
        issue(session_of(outsider), site_stream_channels, (hidden.pk,), now=now)
    with pytest.raises(NotAuthenticatedError):
        issue(Credentials(None, None), status_stream_channels, (), now=now)


def test_a_session_ends_with_logout_expiry_deactivation_and_a_new_password(
    viewer: User,
) -> None:
    now = timezone.now()
    by_session = session_of(viewer)
    permit = issue(by_session, status_stream_channels, (), now=now)
    assert still_good([permit], now=now) == {permit}

    assert still_good([permit], now=now + timedelta(days=15)) == set()

    viewer.is_active = False
    viewer.save()
    assert still_good([permit], now=now) == set()

    viewer.is_active = True
    viewer.set_password("another")
    viewer.save()
    assert still_good([permit], now=now) == set()
    # Looking must not change anything: Django's own look-up flushes such a session.
    assert Session.objects.filter(session_key=by_session.session_key).exists()

    permit = issue(session_of(viewer), status_stream_channels, (), now=now)
    Session.objects.all().delete()
    assert still_good([permit], now=now) == set()


def test_a_session_survives_a_rotated_secret_key(viewer: User, settings: Any) -> None:
    credentials = session_of(viewer)

    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key, just as long as the first one was"

    assert users_of([credentials], now=timezone.now()) == {credentials: viewer}


def test_a_permit_is_void_when_the_channels_would_be_others(viewer: User) -> None:
    now = timezone.now()
    permit = issue(session_of(viewer), status_stream_channels, (), now=now)

    viewer.is_superuser = True
    viewer.save()

    assert still_good([permit], now=now) == set()


def test_looking_at_a_hundred_sessions_takes_two_queries(
    django_assert_num_queries: Any,
) -> None:
    users = [User.objects.create_user(f"user-{n}") for n in range(100)]
    asked = [session_of(user) for user in users]

    with django_assert_num_queries(2):
        found = users_of(asked, now=timezone.now())

    assert found == dict(zip(asked, users, strict=True))


def test_credentials_do_not_show_in_a_log(viewer: User) -> None:
    credentials = Credentials(b"secret-token", "secret-session")
    permit = issue(session_of(viewer), status_stream_channels, (), now=timezone.now())

    assert "secret" not in repr(credentials)
    assert str(permit.credentials.session_key) not in repr(permit)
