"""Discovered topics over HTTP: listed, accepted, ignored, forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from apps.core import events
from apps.core.tests.clients import client_of, is_error
from apps.devices.discovery import note
from apps.devices.models import DiscoveredTopic, SensorDevice
from apps.devices.tests.sightings import seen
from apps.sites.models import ConnectionStats, Site
from apps.sites.services import TopicSetting, connection_configure, connection_of
from apps.sites.tests.builders import configured
from apps.telemetry.models import TopicMapping

MAPPING = {
    "datalogger": {"type": "valve", "number": "3"},
    "ts_path": "$.ts",
    "values": [
        {
            "path": "$.open",
            "key": "open",
            "label": "Opening",
            "type": "position",
            "unit": "%",
            "scale": 0.5,
            "offset": 1,
        }
    ],
}


@pytest.fixture(autouse=True)
def _redis_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "emit", lambda *_: True)


@pytest.fixture
def valve(north: Site) -> DiscoveredTopic:
    configured(north)
    note(seen(north, f"{north.code}/valves/3", payload=b'{"open": 4, "ts": 1}'))
    return DiscoveredTopic.objects.get()


def url_of(site: Site, topic: DiscoveredTopic | None = None) -> str:
    return f"/api/v1/mqtt/sites/{site.pk}/topics/" + (f"{topic.pk}/" if topic else "")


def patterns(site: Site) -> set[str]:
    return set(connection_of(site).topics.values_list("pattern", flat=True))


def test_the_list_says_all_there_is(
    viewer: User, north: Site, valve: DiscoveredTopic
) -> None:
    ConnectionStats.objects.update(topics_dropped=7)

    body = client_of(viewer).get(url_of(north)).json()

    [topic] = body.pop("topics")
    assert body == {"count": 1, "next": None, "previous": None, "dropped": 7}
    assert topic["topic"] == f"{north.code}/valves/3"
    assert (topic["last_payload"], topic["payload_encoding"]) == (
        '{"open": 4, "ts": 1}',
        "text",
    )
    assert topic["paths"] == [
        {"path": "$.open", "type": "number"},
        {"path": "$.ts", "type": "number"},
    ]
    assert (topic["state"], topic["mapping"], topic["message_count"]) == (
        "new",
        None,
        1,
    )
    assert topic["first_seen"].endswith("Z")


@pytest.mark.parametrize(
    ("payload", "encoding", "text"),
    [
        (b"\xff\x00", "base64", "/wA="),
        (b"", "text", ""),
        (b"<b>&", "text", "<b>&"),
        (b"x" * 4_095 + "è".encode() * 10_000, "text", "x" * 4_095),
    ],
)
def test_a_payload_is_readable_or_base64(
    viewer: User, north: Site, payload: bytes, encoding: str, text: str
) -> None:
    note(seen(north, "t", payload=payload))

    [topic] = client_of(viewer).get(url_of(north)).json()["topics"]

    assert (topic["payload_encoding"], topic["last_payload"]) == (encoding, text)
    assert topic["payload_size"] == len(payload)


def test_the_list_is_filtered_searched_and_paginated(viewer: User, north: Site) -> None:
    for n in range(5):
        note(seen(north, f"a/{n}", at_s=n))
    note(seen(north, "A/100%_x", payload=b"text", at_s=5))
    DiscoveredTopic.objects.filter(topic="a/0").update(state="ignored")
    client = client_of(viewer)

    def found(query: str) -> list[str]:
        body = client.get(f"{url_of(north)}?{query}").json()
        return [topic["topic"] for topic in body["topics"]]

    assert found("state=ignored") == ["a/0"]
    assert found("content_type=text") == ["A/100%_x"]
    assert found("search=%25_") == ["A/100%_x"]
    assert len(found("search=A/")) == 6
    assert found("limit=2") == ["A/100%_x", "a/4"]
    assert found("limit=2&offset=4") == ["a/1", "a/0"]
    assert client.get(f"{url_of(north)}?state=x").status_code == 400
    assert client.get(f"{url_of(north)}?search=%00").status_code == 400


def test_an_accepted_topic_has_its_mapping_devices_and_filter(
    superuser: User, north: Site, valve: DiscoveredTopic
) -> None:
    client = client_of(superuser)

    answer = client.patch(
        url_of(north, valve), {"state": "accepted", "mapping": MAPPING}, format="json"
    )

    assert answer.status_code == 200, answer.content
    assert answer.json()["state"] == "accepted"
    assert answer.json()["mapping"] == MAPPING
    assert "valves/3" in patterns(north)
    sensor = SensorDevice.objects.get()
    assert (sensor.label, sensor.unit_of_measure) == ("Opening", "%")
    assert str(sensor.datalogger) == "valve 3"


@pytest.mark.parametrize("state", ["ignored", "new"])
def test_what_accepting_added_goes_with_it(
    superuser: User, north: Site, valve: DiscoveredTopic, state: str
) -> None:
    client, url = client_of(superuser), url_of(north, valve)
    before = patterns(north)
    client.patch(url, {"state": "accepted", "mapping": MAPPING}, format="json")

    answer = client.patch(url, {"state": state}, format="json")

    assert (answer.status_code, answer.json()["mapping"]) == (200, None)
    assert patterns(north) == before
    assert not TopicMapping.objects.exists()
    assert SensorDevice.objects.exists()  # what was measured stays


def test_a_filter_that_a_person_set_stays(
    superuser: User, north: Site, valve: DiscoveredTopic
) -> None:
    connection_configure(
        connection_of(north), fields={}, topics=[TopicSetting("valves/#")]
    )
    client, url = client_of(superuser), url_of(north, valve)

    client.patch(url, {"state": "accepted", "mapping": MAPPING}, format="json")
    client.delete(url)

    assert patterns(north) == {"valves/#"}
    assert not TopicMapping.objects.exists()
    assert not DiscoveredTopic.objects.exists()


def test_accepting_again_replaces_the_mapping(
    superuser: User, north: Site, valve: DiscoveredTopic
) -> None:
    client, url = client_of(superuser), url_of(north, valve)
    client.patch(url, {"state": "accepted", "mapping": MAPPING}, format="json")
    values = [{"path": "$.open", "key": "k"}]

    changed = client.patch(
        url,
        {"mapping": {"datalogger": MAPPING["datalogger"], "values": values}},
        format="json",
    )
    kept = client.patch(url, {"state": "accepted"}, format="json")

    assert changed.status_code == 200, changed.content
    assert changed.json()["mapping"]["ts_path"] == ""
    assert [value["key"] for value in kept.json()["mapping"]["values"]] == ["k"]
    client.patch(url, {"state": "new"}, format="json")
    assert "valves/3" not in patterns(north)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"state": "accepted"}, "mapping"),
        ({"state": "ignored", "mapping": MAPPING}, "mapping"),
        ({"mapping": MAPPING}, "mapping"),
        ({"state": "gone"}, "state"),
        ({"state": None}, "state"),
        ({"state": "accepted", "mapping": None}, "mapping"),
        ({"state": "accepted", "mapping": {"values": []}}, "mapping.values"),
        (
            {"state": "accepted", "mapping": MAPPING | {"ts_path": "$["}},
            "ts_path",
        ),
    ],
)
def test_it_refuses_what_is_no_decision(
    superuser: User,
    north: Site,
    valve: DiscoveredTopic,
    body: dict[str, Any],
    field: str,
) -> None:
    answer = client_of(superuser).patch(url_of(north, valve), body, format="json")

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [field]
    valve.refresh_from_db()
    assert valve.state == "new"
    assert not TopicMapping.objects.exists()


def test_a_topic_outside_of_the_site_is_listed_and_not_accepted(
    superuser: User, north: Site
) -> None:
    note(seen(north, f"{north.code}0/x", payload=b"1"))
    topic = DiscoveredTopic.objects.get()

    answer = client_of(superuser).patch(
        url_of(north, topic), {"state": "accepted", "mapping": MAPPING}, format="json"
    )
    ignored = client_of(superuser).patch(
        url_of(north, topic), {"state": "ignored"}, format="json"
    )

    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["state"])
    assert north.code in answer.json()["message"]
    assert ignored.json()["state"] == "ignored"


def test_a_topic_of_another_site_is_not_there(
    superuser: User, hidden: Site, valve: DiscoveredTopic
) -> None:
    client = client_of(superuser)

    assert client.get(url_of(hidden, valve)).status_code == 404
    assert client.patch(url_of(hidden, valve), {}).status_code == 404
    assert client.delete(url_of(hidden, valve)).status_code == 404
    assert client.get(url_of(hidden)).json()["topics"] == []
