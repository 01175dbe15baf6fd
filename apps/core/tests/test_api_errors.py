"""Whatever goes wrong under /api/, it is said in one shape."""

from __future__ import annotations

import json

import pytest
from django.db import OperationalError
from django.test import Client

from apps.core.tests.clients import client_of, is_error

SITES = "/api/v1/sites/"


@pytest.mark.parametrize("path", ["/api/", "/api/v1/nowhere/", "/api/v2/sites/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_address_is_404_in_json(db, path, method):
    answer = Client().generic(method, path)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert is_error(answer.json())


def test_an_unknown_page_is_left_to_the_pages(db):
    answer = Client().get("/nowhere/")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")


def test_an_unexpected_error_is_500_without_a_word_about_its_cause(
    superuser, monkeypatch
):
    client = client_of(superuser)
    client.raise_request_exception = False

    def fail(*_args: object, **_kwargs: object) -> None:
        message = "secret internals"
        raise RuntimeError(message)

    monkeypatch.setattr("apps.sites.api.page", fail)

    answer = client.get(SITES)

    assert answer.status_code == 500
    assert answer.json()["code"] == "server_error"
    assert is_error(answer.json())
    assert b"secret" not in answer.content


def test_an_absent_database_is_503(superuser, monkeypatch):
    client = client_of(superuser)

    def fail(*_args: object, **_kwargs: object) -> None:
        message = "connection to server at 10.0.0.5 refused"
        raise OperationalError(message)

    monkeypatch.setattr("apps.sites.api.page", fail)

    answer = client.get(SITES)

    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert b"10.0.0.5" not in answer.content


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"name": NaN}',
        b'{"name": "\xff"}',
        b'{"name": "a\\u0000b"}',
        b'{"name": "\\ud800"}',
        b'{"name": {"a": 1}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name": ' + b"9" * 5_000 + b"}",
    ],
)
def test_no_body_makes_it_stumble(superuser, body):
    answer = client_of(superuser).generic(
        "POST", SITES, body, content_type="application/json"
    )

    assert answer.status_code == 400, answer.content
    assert is_error(answer.json())


def test_a_body_beyond_a_megabyte_is_413(superuser):
    body = json.dumps({"name": "x" * 1_000_001})

    answer = client_of(superuser).generic(
        "POST", SITES, body, content_type="application/json"
    )

    assert answer.status_code == 413
    assert is_error(answer.json())


def test_a_body_that_is_not_json_is_415(superuser):
    answer = client_of(superuser).post(SITES, {"name": "x"}, format="multipart")

    assert answer.status_code == 415
    assert is_error(answer.json())


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=x",
        "limit=1.5",
        "offset=-1",
        "offset=99999999999999999999",
        "limit=%00",
    ],
)
def test_a_page_that_cannot_be_names_the_parameter(superuser, query):
    answer = client_of(superuser).get(f"{SITES}?{query}")

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [query.split("=")[0]]
