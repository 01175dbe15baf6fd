from __future__ import annotations

import pytest

from apps.web.tests.pages import page_of

LOGIN = "/login/"


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
