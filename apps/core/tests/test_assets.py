"""Assets come compressed and are kept for ever; pages are compressed, streams never."""

from __future__ import annotations

import gzip
import re

import pytest
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from apps.core.assets import Assets, Compression

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
SCRIPT = f"{settings.STATIC_URL}web/js/live.js"
OURS = settings.BASE_DIR / "apps/web/static/web/js/live.js"


@pytest.fixture(autouse=True)
def _as_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "WHITENOISE_AUTOREFRESH", False)


def test_a_script_is_compressed_and_never_asked_for_again() -> None:
    answer = Client().get(SCRIPT, headers=GZIP)

    assert answer.status_code == 200
    assert answer["Content-Encoding"] == "gzip"
    assert answer["Content-Length"] == str(len(answer.content))
    assert gzip.decompress(answer.content) == OURS.read_bytes()
    assert "Accept-Encoding" in answer["Vary"]
    assert "immutable" in answer["Cache-Control"]
    assert int(re.findall(r"max-age=(\d+)", answer["Cache-Control"])[0]) > 31_000_000


def test_who_cannot_unpack_gets_it_plain() -> None:
    answer = Client().get(SCRIPT)

    assert "Content-Encoding" not in answer
    assert answer.content == OURS.read_bytes()
    assert answer["Content-Length"] == str(len(answer.content))
    assert "Accept-Encoding" in answer["Vary"]


def test_a_part_of_a_file_stays_that_part() -> None:
    answer = Client().get(SCRIPT, headers=GZIP | {"Range": "bytes=100-899"})

    assert answer.status_code == 206
    assert "Content-Encoding" not in answer
    assert answer.content == OURS.read_bytes()[100:900]
    assert answer["Content-Length"] == "800"


def test_the_head_of_a_file_has_no_body() -> None:
    answer = Client().head(SCRIPT, headers=GZIP)

    assert answer.status_code == 200
    assert answer.content == b""


def test_another_version_is_better_than_none_but_not_kept() -> None:
    answer = Client().get("/static/0123456789ab/web/js/live.js")

    assert answer.content == OURS.read_bytes()
    assert answer["Cache-Control"] == "no-cache"


def test_what_is_not_there_is_not_found(db: None) -> None:
    for path in (f"{settings.STATIC_URL}web/no.js", "/static/0123456789ab/no.js"):
        assert Client().get(path).status_code == 404


def test_while_developing_nothing_is_kept(settings) -> None:
    settings.DEBUG = settings.WHITENOISE_AUTOREFRESH = True
    assets = Assets(lambda _request: HttpResponse(status=418))

    answer = assets(RequestFactory().get(SCRIPT))

    assert answer.status_code == 200
    assert answer["Cache-Control"] == "max-age=0, public"


def test_a_stream_is_never_compressed() -> None:
    parts = (b"data: 1\n\n" * 100, b"data: 2\n\n" * 100)
    answer = StreamingHttpResponse(parts, content_type="text/event-stream")
    middleware = Compression(lambda _request: answer)

    sent = middleware(RequestFactory().get("/events/status/", headers=GZIP))

    assert sent is answer
    assert "Content-Encoding" not in sent
    assert sent.getvalue() == b"".join(parts)


def test_pages_and_json_are_compressed(client_of_north: Client) -> None:
    for path in ("/", "/api/v1/mqtt/connections/"):
        answer = client_of_north.get(path, headers=GZIP)

        assert answer.status_code == 200, path
        assert answer["Content-Encoding"] == "gzip", path
        assert b"North" in gzip.decompress(answer.content)


@pytest.fixture
def client_of_north(superuser, north) -> Client:
    client = Client()
    client.force_login(superuser)
    return client
