"""Login over the API."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from rest_framework_simplejwt.tokens import RefreshToken

from apps.core.tests.clients import client_of, is_error

TOKEN = "/api/v1/auth/token/"
REFRESH = "/api/v1/auth/token/refresh/"


@pytest.fixture(autouse=True)
def _nobody_has_tried_yet():
    cache.clear()


def test_it_gives_tokens_that_open_the_api(viewer):
    login = {"username": "viewer", "password": "pw-viewer-1"}

    pair = client_of(None).post(TOKEN, login, format="json")

    assert pair.status_code == 200
    assert set(pair.json()) == {"access", "refresh"}
    client = client_of(None)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.json()['access']}")
    assert client.get("/api/v1/sites/").status_code == 200


def test_a_refresh_token_buys_an_access_token(viewer):
    refresh = str(RefreshToken.for_user(viewer))

    answer = client_of(None).post(REFRESH, {"refresh": refresh}, format="json")

    assert answer.status_code == 200
    assert set(answer.json()) == {"access"}


@pytest.mark.parametrize(
    ("username", "password"),
    [("viewer", "wrong"), ("nobody", "pw-viewer-1"), ("viewer", " pw-viewer-1")],
)
def test_a_wrong_login_is_401_in_the_shape_of_errors(viewer, username, password):
    login = {"username": username, "password": password}

    answer = client_of(None).post(TOKEN, login, format="json")

    assert answer.status_code == 401
    assert answer.json()["code"] == "no_active_account"
    assert is_error(answer.json())


@pytest.mark.parametrize(
    "login", [{}, {"username": "viewer"}, {"username": "a\x00b", "password": "x"}, []]
)
def test_an_incomplete_login_names_its_fields(viewer, login):
    answer = client_of(None).post(TOKEN, login, format="json")

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert answer.json()["fields"]


def test_a_disabled_user_gets_no_token(viewer):
    refresh = str(RefreshToken.for_user(viewer))
    viewer.is_active = False
    viewer.save()
    login = {"username": "viewer", "password": "pw-viewer-1"}

    for path, body in ((TOKEN, login), (REFRESH, {"refresh": refresh})):
        answer = client_of(None).post(path, body, format="json")

        assert answer.status_code == 401, path
        assert is_error(answer.json())


def test_a_deleted_users_refresh_token_is_401(viewer):
    refresh = str(RefreshToken.for_user(viewer))
    User.objects.all().delete()

    answer = client_of(None).post(REFRESH, {"refresh": refresh}, format="json")

    assert answer.status_code == 401
    assert is_error(answer.json())


def test_an_access_token_buys_nothing(viewer):
    access = str(RefreshToken.for_user(viewer).access_token)

    answer = client_of(None).post(REFRESH, {"refresh": access}, format="json")

    assert answer.status_code == 401
    assert answer.json()["code"] == "token_not_valid"


def test_guessing_is_slowed_down_whatever_the_caller_says_about_its_address(viewer):
    client = client_of(None)
    statuses = [
        client.post(
            TOKEN,
            {"username": "viewer"},
            format="json",
            headers={"x-forwarded-for": f"10.0.0.{place}"},
        ).status_code
        for place in range(61)
    ]

    assert statuses == [400] * 60 + [429]
    answer = client.post(TOKEN, {"username": "viewer"}, format="json")
    assert answer.json()["code"] == "throttled"
    assert is_error(answer.json())
    assert int(answer.headers["Retry-After"]) <= 60
