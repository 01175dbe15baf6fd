from __future__ import annotations

import pytest
from django.core.cache import cache

from apps.core.permissions import ThrottleByAddress
from apps.web.tests.pages import page_of

LOGIN = "/login/"


@pytest.fixture(autouse=True)
def _uncounted():
    """Every test begins with no login counted, and leaves none."""
    cache.clear()
    yield
    cache.clear()


def test_it_sends_a_stranger_to_the_login_and_back(client, viewer):
    refused = client.get("/?q=north")

    assert refused.url == "/login/?next=/%3Fq%3Dnorth"
    entered = client.post(
        refused.url,
        {"username": "viewer", "password": "pw-viewer-1", "next": "/?q=north"},
    )
    assert entered.url == "/?q=north"


def test_it_says_that_a_password_is_wrong(client, viewer):
    response = client.post(LOGIN, {"username": "viewer", "password": "wrong"})

    page = page_of(response)
    assert "Please enter a correct username and password" in page.text
    assert page.with_attribute("role", "alert")
    assert page.problems == []


def test_it_does_not_follow_a_next_to_another_host(client, viewer):
    response = client.post(
        LOGIN,
        {
            "username": "viewer",
            "password": "pw-viewer-1",
            "next": "https://evil.example/",
        },
    )

    assert response.url == "/"


def test_it_has_no_login_for_those_who_are_in(client, viewer):
    client.force_login(viewer)

    assert client.get(LOGIN).url == "/"


def test_it_logs_out_by_post_alone(client, viewer):
    client.force_login(viewer)

    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").url == LOGIN
    assert client.get("/").status_code == 302


def test_it_speaks_the_language_that_was_chosen(client, db):
    chosen = client.post("/i18n/setlang/", {"language": "it", "next": LOGIN})

    assert chosen.url == LOGIN
    response = client.get(LOGIN)
    assert '<html lang="it">' in response.content.decode()
    assert "Accedi" in page_of(response).text


@pytest.mark.parametrize("language", ["en", "it"])
def test_it_is_a_valid_page_without_anything_inline(client, db, language):
    response = client.get(LOGIN, headers={"accept-language": language})

    assert page_of(response).problems == []
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]


def test_it_counts_attempts_together_with_the_api(client, viewer, monkeypatch):
    monkeypatch.setitem(ThrottleByAddress.THROTTLE_RATES, "login", "3/min")
    wrong = {"username": "viewer", "password": "wrong"}
    right = {"username": "viewer", "password": "pw-viewer-1"}
    client.post(LOGIN, wrong)
    client.post("/api/v1/auth/token/", wrong, content_type="application/json")
    client.post(LOGIN, wrong)

    refused = client.post(LOGIN, right)

    page = page_of(refused)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert "Too many attempts" in page.text
    assert page.problems == []
    elsewhere = client.post(LOGIN, right, REMOTE_ADDR="192.0.2.7")
    assert elsewhere.url == "/"
