"""A mapping for a version that nobody knows, made from a quarantined message."""

from __future__ import annotations

import pytest

from apps.devices.models import SensorDevice
from apps.telemetry.mappings import mapping_create
from apps.telemetry.models import QuarantinedMessage, TopicMapping
from apps.web.tests.conftest import MARKUP
from apps.web.tests.pages import page_of
from apps.web.tests.site_tabs import post, quarantine, url

PAYLOAD = b'{"v": 9, "at": "2026-11-20T10:00:00Z", "data": {"t": 20.5, "on": true}}'
FORM = {
    "rows": "4",
    "path-0": "$.v",
    "key-0": "v",
    "path-1": "$.at",
    "key-1": "at",
    "path-2": "$.data.t",
    "key-2": "t",
    "label-2": "Outside",
    "unit-2": "°C",
    "scale-2": "2",
    "offset-2": "1",
    "use-2": "on",
    "path-3": "$.data.on",
    "key-3": "on",
    "type-3": "boolean",
    "scale-3": "1",
    "offset-3": "0",
    "ts_path": "$.at",
}


def strange(site, payload=PAYLOAD, **but):
    return quarantine(site, payload, "unknown_version", **but)


def path_of(site, message):
    return url(site, f"quarantine/{message.pk}/mapping/")


def links(client, site):
    page = page_of(client.get(url(site, "quarantine/")))
    return [found["href"] for found in page.with_attribute("data-dialog")]


def test_the_quarantine_offers_it_where_there_is_a_version(
    client, connected, superuser, operator
):
    message = strange(connected)
    strange(connected, b'{"v": "nine"}')
    quarantine(connected)
    client.force_login(superuser)
    assert links(client, connected) == [path_of(connected, message)]

    client.force_login(operator)
    assert links(client, connected) == []
    assert client.get(path_of(connected, message)).status_code == 403


def test_it_shows_the_values_of_the_message(client, connected, superuser):
    message = strange(connected, PAYLOAD.replace(b"20.5", b'"<img src=x>"'))
    client.force_login(superuser)

    page = page_of(client.get(path_of(connected, message)))

    assert page.problems == []
    assert "What messages of version 9 mean" in page.texts
    assert {"$.v", "$.at", "$.data.t", "$.data.on"} <= set(page.texts)
    assert not page.with_attribute("name", "device")  # the topic names it


def test_it_previews_and_stores_nothing(client, connected, superuser):
    message = strange(connected)
    client.force_login(superuser)

    page = page_of(
        client.post(path_of(connected, message), FORM | {"action": "preview"})
    )

    assert {"42", "°C", "Outside"} <= set(page.texts)
    assert any("10:00:00" in text for text in page.texts)
    assert page.problems == []
    assert not TopicMapping.objects.exists()


def test_it_saves_and_reads_the_waiting_ones_again(client, connected, superuser):
    message, other = strange(connected), strange(connected, b'{"v": 10, "t": 1}')
    client.force_login(superuser)

    answer = post(client, path_of(connected, message), **FORM, replay="on").json()

    mapping = TopicMapping.objects.get()
    assert (mapping.version, mapping.topic, mapping.ts_path) == (9, "", "$.at")
    assert answer["url"] == url(connected, "quarantine/")
    assert "1 understood and stored, 1 still not" in answer["text"]
    waiting = QuarantinedMessage.objects.filter(replayed_at=None)
    assert list(waiting) == [other]
    sensor = SensorDevice.objects.get(key="t")
    assert (sensor.label, sensor.unit_of_measure) == ("Outside", "°C")


def test_it_saves_without_reading_again(client, connected, superuser):
    message = strange(connected)
    client.force_login(superuser)

    answer = post(client, path_of(connected, message), **FORM).json()

    assert answer["text"] == "Saved: messages of this version are readings from now on"
    assert QuarantinedMessage.objects.get().replayed_at is None


def test_it_changes_the_mapping_that_is_there(client, connected, superuser):
    values = [{"path": "$.data.t", "key": "old", "scale": 3.0}]
    mapping = mapping_create(connected, version=9, values=values, is_active=False)
    message = strange(connected)
    client.force_login(superuser)

    page = page_of(client.get(path_of(connected, message)))
    post(client, path_of(connected, message), **FORM)

    assert page.with_attribute("value", "old")
    mapping.refresh_from_db()
    assert [value["key"] for value in mapping.values] == ["t"]
    assert mapping.is_active


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key-2": ""}, "blank"),
        ({"use-2": None}, "Tick at least one"),
        ({"scale-2": "1e999"}, "number"),
        ({"path-2": "t"}, "path"),
    ],
)
def test_it_keeps_a_wrong_mapping_and_says_what_is_wrong(
    client, connected, superuser, change, words
):
    message = strange(connected, detail=MARKUP)
    client.force_login(superuser)
    sent = {k: v for k, v in (FORM | change).items() if v is not None}

    page = page_of(post(client, path_of(connected, message), **sent))

    assert page.problems == []
    assert words in page.text
    assert not TopicMapping.objects.exists()


def test_it_is_not_there_for_other_messages(client, connected, hidden, superuser):
    client.force_login(superuser)

    for message in (
        quarantine(connected),
        strange(connected, b'{"v": "nine"}'),
        strange(connected, topic=f"{connected.code}/gateway/1/heartbeat"),
    ):
        assert client.get(path_of(connected, message)).status_code == 404
    assert client.get(path_of(hidden, strange(connected))).status_code == 404
