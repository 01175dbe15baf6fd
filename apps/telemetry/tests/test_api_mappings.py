"""Mappings over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.devices.discovery import topic_digest
from apps.devices.models import Datalogger, DiscoveredTopic
from apps.telemetry.models import QuarantinedMessage, TopicMapping

VALUES = [{"path": "$.t", "key": "t", "scale": 2}]


@pytest.fixture
def api(superuser):
    return client_of(superuser)


@pytest.fixture
def url(north) -> str:
    return f"/api/v1/mqtt/sites/{north.pk}/mappings/"


@pytest.fixture
def body(north) -> dict[str, Any]:
    return {
        "topic": f"{north.code}/weather/roof",
        "datalogger": {"type": "weather", "number": "roof"},
        "ts_path": "$.at",
        "values": VALUES,
    }


def test_one_is_created_read_changed_and_deleted(api, url, body, north, viewer):
    created = api.post(url, body, format="json")
    made = created.json()

    assert created.status_code == 201
    assert made | body == made | {
        "values": [
            VALUES[0] | {"label": "", "type": "", "unit": "", "scale": 2, "offset": 0}
        ]
    } | {"values": VALUES}
    assert (made["site_id"], made["version"], made["is_active"]) == (
        north.pk,
        None,
        True,
    )
    assert Datalogger.objects.get().number == "roof"

    one = f"{url}{made['id']}/"
    assert client_of(viewer).get(one).json() == made
    assert client_of(viewer).get(url).json()["mappings"] == [made]

    changed = api.patch(one, {"datalogger": {"number": "cellar"}}, format="json")
    assert changed.status_code == 200, changed.json()
    assert changed.json()["datalogger"] == {"type": "weather", "number": "cellar"}
    assert changed.json()["values"] == made["values"]

    assert api.delete(one).status_code == 204
    assert api.get(one).status_code == 404


def test_one_of_another_site_is_not_there(api, url, body, hidden):
    made = api.post(url, body, format="json").json()
    other = f"/api/v1/mqtt/sites/{hidden.pk}/mappings/{made['id']}/"

    for method in ("get", "patch", "delete"):
        assert getattr(api, method)(other).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"values": [{"path": "t", "key": "t"}]}, "values.0.path"),
        ({"values": [{"path": "$.t"}]}, "values.0.key"),
        ({"values": [{"path": "$", "key": "t", "scale": "NaN"}]}, "values.0.scale"),
        ({"values": [{"path": "$", "key": "t", "scale": 10**400}]}, "values.0.scale"),
        ({"values": [{"path": "$", "key": "\ud800"}]}, "values.0.key"),
        ({"values": VALUES * 2}, "values.1.key"),
        ({"values": VALUES * 201}, "values"),
        ({"values": "x"}, "values"),
        ({"version": 3}, "topic"),
        ({"topic": "", "version": 2**40}, "version"),
        ({"topic": "x/\0"}, "topic"),
        ({"topic": "x/y"}, "topic"),
        ({"datalogger": 5}, "datalogger"),
        ({"datalogger": {"type": "a/b", "number": "1"}}, "datalogger.type"),
        ({"ts_path": "$["}, "ts_path"),
    ],
    ids=lambda given: repr(given)[:60],
)
def test_what_is_wrong_is_named(api, url, body, change, field):
    raw = json.dumps(body | change)  # escapes: a half surrogate is no UTF-8
    answer = api.post(url, raw, content_type="application/json")

    assert answer.status_code == 400, answer.json()
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [field]
    assert not TopicMapping.objects.exists()


def test_a_patch_of_values_must_name_path_and_key(api, url, body):
    made = api.post(url, body, format="json").json()

    for values in ([{"key": "t"}], [{"path": "$.t"}], []):
        answer = api.patch(f"{url}{made['id']}/", {"values": values}, format="json")
        assert answer.status_code == 400, answer.json()


# -- preview -------------------------------------------------------------------


def preview(api, url: str, **body: Any) -> dict[str, Any]:
    answer = api.post(f"{url}preview/", body, format="json")
    assert answer.status_code == 200, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def test_a_preview_shows_the_readings_and_stores_nothing(api, url, body):
    values = [
        {"path": "$.t", "key": "t", "label": "Roof", "unit": "°C", "scale": 0.1},
        {"path": "$.mode", "key": "m"},
        {"path": "$.x", "key": "x"},
    ]

    found = preview(
        api,
        url,
        **body
        | {"values": values, "payload": '{"t": 225, "mode": "eco", "at": 1763547000}'},
    )

    at = "2025-11-19T10:10:00Z"
    assert found == {
        "is_understood": True,
        "reason": "",
        "detail": "",
        "readings": [
            {
                "key": "t",
                "label": "Roof",
                "type": "",
                "unit": "°C",
                "value": 22.5,
                "at": at,
            },
            {"key": "m", "label": "", "type": "", "unit": "", "value": "eco", "at": at},
        ],
        "missing": ["x"],
    }
    assert not TopicMapping.objects.exists()
    assert not Datalogger.objects.exists()


def test_a_preview_says_why_not(api, url, body):
    found = preview(api, url, **body | {"payload": '{"t"'})

    assert (found["is_understood"], found["reason"]) == (False, "json_invalid")
    assert found["detail"]


def test_a_preview_takes_what_was_seen(api, url, body, north):
    now = timezone.now()
    topic = DiscoveredTopic.objects.create(
        site=north,
        topic=f"{north.code}/new",
        digest=topic_digest("x"),
        first_seen=now,
        last_seen=now,
        last_payload=b'{"t": 4}',
    )
    bad = QuarantinedMessage.objects.create(
        site=north,
        topic=f"{north.code}/datalogger/monstro/15/data",
        payload=b'{"v": 9, "t": 5}',
        payload_size=9,
        qos=0,
        retain=False,
    )
    del body["topic"]

    seen = preview(api, url, **body, topic_id=topic.pk)
    kept = preview(api, url, **body, quarantine_id=bad.pk)
    version = preview(api, url, version=9, values=VALUES, quarantine_id=bad.pk)

    assert [found["readings"][0]["value"] for found in (seen, kept, version)] == [
        8,
        10,
        10,
    ]


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"payload": "1", "topic_id": 1},
        {"topic_id": 2**62},
        {"quarantine_id": 2**62},
        {"quarantine_id": 2**63},
        {"topic_id": 0},
        {"payload": "x" * 65_537},
        {"payload": "\0"},
        {"payload": 5, "values": []},
    ],
    ids=lambda given: repr(given)[:40],
)
def test_a_preview_without_one_payload_is_refused(api, url, body, source):
    answer = api.post(f"{url}preview/", body | source, format="json")

    assert answer.status_code == 400
    assert is_error(answer.json())
