"""The quarantine over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.sites.models import Site
from apps.telemetry.models import QuarantinedMessage
from apps.telemetry.tests.batches import Feed, values


def keep(site: Site, payload: bytes = b"{", **fields: Any) -> QuarantinedMessage:
    given: dict[str, Any] = {
        "topic": f"{site.code}/datalogger/monstro/15/data",
        "payload": payload[:65_536],
        "payload_size": len(payload),
        "qos": 1,
        "retain": False,
        "reason": "json_invalid",
        "detail": "why",
    }
    return QuarantinedMessage.objects.create(site=site, **(given | fields))


@pytest.fixture
def url(north) -> str:
    return f"/api/v1/mqtt/sites/{north.pk}/quarantine/"


@pytest.fixture
def api(viewer):
    return client_of(viewer)


def test_a_message_is_shown_as_text_and_bytes(api, url, north, hidden):
    keep(hidden)
    row = keep(north, b"<b>22\xc2\xb0")

    [shown] = api.get(url).json()["messages"]

    assert shown == api.get(f"{url}{row.pk}/").json()
    assert shown["payload_text"] == "<b>22°"
    assert base64.b64decode(shown["payload_base64"]) == b"<b>22\xc2\xb0"
    assert (shown["reason"], shown["detail"]) == ("json_invalid", "why")
    assert (shown["payload_size"], shown["payload_truncated"]) == (7, False)
    assert (shown["can_replay"], shown["replayed_at"]) == (True, None)


def test_a_list_shows_heads_and_one_shows_all_that_was_kept(api, url, north):
    row = keep(north, b"x" * 70_000)

    [head] = api.get(url).json()["messages"]
    whole = api.get(f"{url}{row.pk}/").json()

    assert (len(head["payload_text"]), len(whole["payload_text"])) == (4_096, 65_536)
    assert head["payload_truncated"]
    assert whole["payload_truncated"]
    assert not whole["can_replay"]


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"\xff", None),
        (b"\xff" + b"x" * 5_000, None),
        (b"x" * 4_095 + "°".encode() + b"y", "x" * 4_095),
        (b"x" * 4_094 + b"\xe2\x82", None),
        (b"a\0b", "a\0b"),
    ],
    ids=["no text", "long and no text", "cut letter", "half a letter", "NUL"],
)
def test_bytes_that_are_no_text_are_bytes_only(api, url, north, payload, text):
    keep(north, payload)

    [shown] = api.get(url).json()["messages"]

    assert shown["payload_text"] == text
    assert base64.b64decode(shown["payload_base64"]) == payload[:4_096]


def test_it_is_filtered_and_paginated_newest_first(api, url, north):
    rows = [keep(north), keep(north, reason="unknown_version"), keep(north)]
    rows[0].replayed_at = timezone.now()
    rows[0].save()

    def ids(query: str = "") -> list[int]:
        return [row["id"] for row in api.get(f"{url}{query}").json()["messages"]]

    pks = [row.pk for row in rows]
    assert ids() == pks[::-1]
    assert ids("?reason=unknown_version") == [pks[1]]
    assert ids("?replayed=true") == [pks[0]]
    assert ids("?replayed=false&reason=json_invalid") == [pks[2]]
    assert ids("?limit=1&offset=1") == [pks[1]]
    for query in ("?reason=mood", "?replayed=maybe", "?limit=0"):
        assert api.get(f"{url}{query}").status_code == 400


def test_a_replay_says_what_became_of_them(url, north, superuser):
    feed = Feed(north)
    good = keep(north, b'{"values": {"t": 1}}')
    keep(north, b'{"values": {"t": 2}}', reason="unknown_version")
    keep(north)
    api = client_of(superuser)

    def replay(**body: Any) -> dict[str, int]:
        answer = api.post(f"{url}replay/", body, format="json")
        assert answer.status_code == 200
        found: dict[str, int] = answer.json()
        return found

    assert replay(ids=[good.pk, 2**63 - 1]) == {
        "replayed": 1,
        "still_quarantined": 0,
        "skipped": 1,
    }
    assert replay(reason="unknown_version")["replayed"] == 1
    assert replay() == {"replayed": 0, "still_quarantined": 1, "skipped": 0}
    assert values() == [1.0, 2.0]
    assert feed.counters == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        {"ids": []},
        {"ids": [0]},
        {"ids": [2**63]},
        {"ids": ["x"]},
        {"ids": [None]},
        {"ids": 5},
        {"ids": [1] * 10_001},
        {"reason": "mood"},
        {"reason": "\ud800"},
        {"ids": ["\ud800"]},
        [],
    ],
    ids=lambda body: repr(body)[:30],
)
def test_a_replay_of_what_is_no_id_is_refused(url, superuser, body):
    raw = json.dumps(body)  # escapes: a half surrogate is no UTF-8
    answer = client_of(superuser).post(
        f"{url}replay/", raw, content_type="application/json"
    )

    assert answer.status_code == 400
    assert is_error(answer.json())


def test_a_message_of_another_site_is_not_there(api, url, hidden):
    row = keep(hidden)

    assert api.get(f"{url}{row.pk}/").status_code == 404
