"""A topic is accepted on its page, with a mapping."""

from __future__ import annotations

import pytest

from apps.devices.models import Datalogger, SensorDevice
from apps.telemetry.models import TopicMapping
from apps.web.tests.pages import page_of
from apps.web.tests.site_tabs import find_topic, post, url

FORM = {
    "device": "new",
    "new_type": "zigbee",
    "new_number": "kitchen",
    "ts_path": "$.at",
    "rows": "4",
    "path-0": "$.temperature",
    "key-0": "t",
    "label-0": "Kitchen",
    "unit-0": "°C",
    "scale-0": "2",
    "offset-0": "-1",
    "use-0": "on",
    "path-1": "$.humidity",
    "key-1": "h",
    "scale-1": "1",
    "offset-1": "0",
    "path-2": "$.on",
    "key-2": "on",
    "type-2": "boolean",
    "scale-2": "1",
    "offset-2": "0",
    "use-2": "on",
}


def test_it_previews_and_stores_nothing(client, connected, superuser):
    topic = find_topic(connected)
    client.force_login(superuser)

    response = client.post(
        url(connected, f"topics/{topic.pk}/"), FORM | {"action": "preview"}
    )
    page = page_of(response)

    assert {"42", "°C", "Kitchen", "yes"} <= set(page.texts)
    assert any("10:00:00" in text for text in page.texts)
    assert not TopicMapping.objects.exists()
    assert page.problems == []


def test_it_accepts_a_topic(client, connected, superuser, worker):
    topic = find_topic(connected)
    client.force_login(superuser)

    response = post(
        client, url(connected, f"topics/{topic.pk}/"), **FORM, action="accept"
    )

    mapping = TopicMapping.objects.get()
    assert response.json()["url"] == url(connected, "topics/")
    assert [value["key"] for value in mapping.values] == ["t", "on"]
    assert mapping.values[0]["scale"] == 2
    assert mapping.values[0]["offset"] == -1
    assert mapping.ts_path == "$.at"
    assert Datalogger.objects.get().number == "kitchen"
    assert SensorDevice.objects.get(key="t").unit_of_measure == "°C"


def test_it_shows_an_accepted_topic_as_it_is(client, connected, superuser, worker):
    topic = find_topic(connected)
    client.force_login(superuser)
    path = url(connected, f"topics/{topic.pk}/")
    post(client, path, **FORM, action="accept")
    find_topic(connected, payload=b'{"temperature": 1}')

    page = page_of(client.get(path))

    ticked = [f["name"] for f in page.with_attribute("checked")]
    assert ticked == ["use-0", "use-1"]  # what the payload does not have comes last
    values = {
        f["name"]: f["value"] for f in page.with_attribute("value") if "name" in f
    }
    assert (values["key-0"], values["scale-0"], values["key-1"]) == ("t", "2", "on")
    assert {"1", "not in this payload"} <= set(page.texts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key-0": ""}, "blank"),
        ({"key-2": "t"}, "twice"),
        ({"scale-0": "x"}, "number"),
        ({"scale-0": "1e999"}, "number"),
        ({"path-0": "t"}, "path"),
        ({"new_type": "a/b"}, "one level"),
        ({"new_type": ""}, "Both"),
        ({"new_type": "", "new_number": ""}, "names no datalogger"),
        ({"device": "999999"}, "names no datalogger"),
        ({"use-0": None, "use-2": None}, "Tick at least one"),
        ({"rows": "9" * 5_000}, "Tick at least one"),
        ({"unit-0": "x" * 33}, "32"),
    ],
)
def test_it_keeps_a_wrong_mapping_and_says_what_is_wrong(
    client, connected, superuser, change, words
):
    topic = find_topic(connected)
    client.force_login(superuser)
    sent = {k: v for k, v in (FORM | change).items() if v is not None}

    response = client.post(
        url(connected, f"topics/{topic.pk}/"), sent | {"action": "accept"}
    )
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert words in page.text
    if "rows" not in change:
        assert page.with_attribute("value", "Kitchen")
    assert not TopicMapping.objects.exists()
