"""The API's description of itself: complete, and readable without a foreign server."""

from __future__ import annotations

import re

import pytest
import yaml
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

from tests.test_permissions import ROUTES

UNDESCRIBED = {"schema/", "docs/", "mqtt/sensors/by_datalogger"}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    file = tmp_path_factory.mktemp("schema") / "schema.yml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(file))
    return yaml.safe_load(file.read_text())


def test_it_is_valid_and_has_every_address_and_method(schema):
    described = {
        path.removeprefix("/api/v1/"): {method.upper() for method in methods}
        for path, methods in schema["paths"].items()
    }

    assert described == {
        re.sub(r"<int:(\w+)>", r"{\1}", address): set(route.methods)
        for address, route in ROUTES.items()
        if address not in UNDESCRIBED
    }


def test_every_protected_call_says_what_it_refuses(schema):
    for path, methods in schema["paths"].items():
        for method, call in methods.items():
            if "health" not in path and "auth" not in path:
                assert "401" in call["responses"], (method, path)
            if "{" in path:
                assert "404" in call["responses"], (method, path)


def test_every_error_has_the_one_shape(schema):
    for methods in schema["paths"].values():
        for call in methods.values():
            for status, answer in call["responses"].items():
                if status.startswith("4"):
                    [content] = answer["content"].values()
                    assert content["schema"]["$ref"].endswith("/Error")


def test_no_secret_is_described_as_an_answer(schema):
    answers = schema["components"]["schemas"]["Connection"]["properties"]

    assert not {"password", "tls_client_key"} & answers.keys()
    assert answers["has_password"]["readOnly"] is True


def test_it_is_served_to_anybody(db):
    answer = Client().get("/api/v1/schema/")

    assert answer.status_code == 200
    assert yaml.safe_load(answer.content)["info"]["title"] == "Guardiano"


def test_the_docs_need_no_foreign_server_and_nothing_inline(db):
    page = Client().get("/api/v1/docs/")
    html = page.content.decode()

    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "style=" not in html
    assert "<style" not in html
    assert re.findall(r"<script[^>]*>([^<]+)</script>", html) == []
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(links) == 6
    for link in links:
        assert link.startswith("/"), link
        if link.startswith(settings.STATIC_URL):
            assert finders.find(link.removeprefix(settings.STATIC_URL)), link

    script = Client().get("/api/v1/docs/?script=")
    assert script.headers["Content-Type"].startswith("application/javascript")
    assert b"SwaggerUIBundle" in script.content
