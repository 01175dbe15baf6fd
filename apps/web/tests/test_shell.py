"""What stands around every page: theme, landmarks, navigation, error pages."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.web.tests.pages import page_of


def theme_of(response):
    return page_of(response).elements[0][1].get("data-theme")


@pytest.mark.parametrize("chosen", ["light", "dark"])
def test_it_remembers_the_theme_from_the_first_byte(client, db, chosen):
    answer = client.post("/theme/", {"theme": chosen, "next": "/login/"})

    assert answer.url == "/login/"
    assert theme_of(client.get("/login/")) == chosen


@pytest.mark.parametrize("chosen", ["auto", "", "<script>", "dark dark"])
def test_it_follows_the_system_otherwise(client, db, chosen):
    client.post("/theme/", {"theme": "dark"})

    client.post("/theme/", {"theme": chosen})

    assert theme_of(client.get("/login/")) is None


def test_it_believes_no_cookie(client, db):
    client.cookies["theme"] = '"><script>'

    response = client.get("/login/")

    assert theme_of(response) is None
    assert b"><script>" not in response.content


def test_it_changes_the_theme_by_post_alone_and_goes_to_no_other_host(client, db):
    assert client.get("/theme/").status_code == 405
    answer = client.post("/theme/", {"theme": "dark", "next": "https://evil.example/"})

    assert answer.url == "/"


def test_it_shows_the_administration_to_superusers_alone(client, viewer, superuser):
    client.force_login(viewer)
    for_viewer = page_of(client.get("/")).text
    client.force_login(superuser)

    assert "Administration" not in for_viewer
    assert "Administration" in page_of(client.get("/")).text


@pytest.mark.parametrize("path", ["/", "/alerts/", "/login/", "/nowhere/"])
def test_it_has_its_landmarks_and_a_way_past_them(client, superuser, path):
    if path != "/login/":
        client.force_login(superuser)

    page = page_of(client.get(path))

    tags = [tag for tag, _ in page.elements]
    assert tags.count("main") == tags.count("h1") == tags.count("header") == 1
    assert page.elements[0][1]["lang"] == "en"
    assert page.with_attribute("href", "#main")
    assert page.problems == []


def test_it_marks_where_one_is(client, superuser):
    client.force_login(superuser)

    current = page_of(client.get("/alerts/")).with_attribute("aria-current", "page")

    assert {link["href"] for link in current} == {"/alerts/"}


def test_it_designs_what_went_wrong(client, superuser, monkeypatch):
    def break_down(*_, **__):
        raise RuntimeError

    monkeypatch.setattr("apps.web.rows.site_rows", break_down)
    quiet = Client(raise_request_exception=False)
    quiet.force_login(superuser)

    page = page_of(quiet.get("/", headers={"accept-language": "it"}))

    assert "Qualcosa è andato storto" in page.text
    assert page.problems == []
