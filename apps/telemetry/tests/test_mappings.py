"""Mappings as people write them: stored, refused, and what they make at once."""

from __future__ import annotations

from typing import Any

import pytest

from apps.devices.discovery import topic_digest
from apps.devices.models import Datalogger, DiscoveredTopic, SensorDevice
from apps.sites.models import MqttTopic, Site
from apps.sites.services import connection_of
from apps.telemetry import mappings
from apps.telemetry.mapping_values import MappingInvalidError
from apps.telemetry.mappings import (
    mapping_create,
    mapping_delete,
    mapping_of,
    mapping_update,
)
from apps.telemetry.models import TopicMapping
from apps.telemetry.protocols.mapped import NO_RULES
from apps.telemetry.rules import site_rules

VALUES = [{"path": "$.t", "key": "t"}]


def create(site: Site, **fields: Any) -> TopicMapping:
    given: dict[str, Any] = {
        "topic": f"{site.code}/weather/roof",
        "datalogger_type": "weather",
        "datalogger_number": "roof",
        "values": VALUES,
    }
    return mapping_create(site, **(given | fields))


def refused(site: Site, **fields: Any) -> str:
    with pytest.raises(MappingInvalidError) as error:
        create(site, **fields)
    assert not TopicMapping.objects.exists()
    [field] = error.value.fields
    return field


def test_its_datalogger_and_sensors_are_there_at_once(north):
    create(
        north,
        values=[
            {"path": "$.t", "key": "t", "label": "Roof", "type": "temp", "unit": "°C"},
            {"path": "$.h", "key": "h"},
        ],
    )

    datalogger = Datalogger.objects.get()
    assert (datalogger.type, datalogger.number) == ("weather", "roof")
    assert list(
        datalogger.sensors.values_list("key", "label", "sensor_type", "unit_of_measure")
    ) == [("h", "", "", ""), ("t", "Roof", "temp", "°C")]


def test_it_is_stored_complete(north):
    row = create(north)

    assert TopicMapping.objects.get() == row
    assert row.values == [
        {
            "path": "$.t",
            "key": "t",
            "label": "",
            "type": "",
            "unit": "",
            "scale": 1.0,
            "offset": 0.0,
        }
    ]


def test_a_topic_may_name_the_datalogger_itself(north):
    topic = f"{north.code}/gateway/1/datalogger/monstro/15/data"

    create(north, topic=topic, datalogger_type="", datalogger_number="")

    assert Datalogger.objects.get().type == "monstro"


def test_a_version_makes_no_device(north):
    create(north, topic="", version=3, datalogger_type="", datalogger_number="")

    assert not Datalogger.objects.exists()
    assert 3 in site_rules(north.pk).by_version


def test_what_a_change_says_anew_replaces_a_persons_older_word(north):
    row = create(north, values=[{"path": "$.t", "key": "t", "label": "A", "unit": "C"}])
    SensorDevice.objects.update(label="Mine")

    mapping_update(
        row,
        fields={"values": [{"path": "$.x", "key": "t", "label": "A", "unit": "K"}]},
    )
    assert SensorDevice.objects.get().unit_of_measure == "K"
    mapping_update(row, fields={"ts_path": "$.at"})
    assert SensorDevice.objects.get().label == "A"  # said with the new unit
    SensorDevice.objects.update(label="Mine")
    mapping_update(row, fields={"ts_path": ""})

    assert SensorDevice.objects.get().label == "Mine"


# -- listening -----------------------------------------------------------------


def patterns(site: Site) -> set[str]:
    active = MqttTopic.objects.filter(connection__site=site, is_active=True)
    return set(active.values_list("pattern", flat=True))


def test_the_connection_listens_to_its_topic(north):
    before = connection_of(north).generation

    create(north)

    assert "weather/roof" in patterns(north)
    assert connection_of(north).generation > before


def test_a_topic_that_a_filter_covers_changes_nothing(north):
    known = patterns(north)
    connection = connection_of(north)

    topic = f"{north.code}/datalogger/monstro/15/data"
    create(north, topic=topic)

    assert patterns(north) == known
    assert connection_of(north).generation == connection.generation


def test_a_filter_that_was_switched_off_is_switched_on(north):
    MqttTopic.objects.create(
        connection=connection_of(north), pattern="weather/roof", is_active=False
    )

    create(north)

    assert "weather/roof" in patterns(north)


@pytest.mark.parametrize("topic", ["a//b", "a/", "x" * 300])
def test_a_topic_that_cannot_be_a_filter_needs_one_that_covers_it(north, topic):
    topic = f"{north.code}/{topic}"
    assert refused(north, topic=topic) == "topic"
    assert not Datalogger.objects.exists()
    MqttTopic.objects.create(connection=connection_of(north), pattern="#")

    assert create(north, topic=topic).pk


def test_a_connection_with_too_many_filters_is_not_given_more(north):
    connection = connection_of(north)
    MqttTopic.objects.bulk_create(
        MqttTopic(connection=connection, pattern=f"p/{place}") for place in range(200)
    )

    assert refused(north) == "topic"


def test_a_mapping_that_is_switched_off_makes_nothing(north):
    row = create(north, is_active=False)

    assert not Datalogger.objects.exists()
    assert "weather/roof" not in patterns(north)
    assert site_rules(north.pk) == NO_RULES

    mapping_update(row, fields={"is_active": True})

    assert Datalogger.objects.exists()
    assert row.topic.encode() in site_rules(north.pk).by_topic


# -- what is refused -----------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"topic": ""}, "topic"),
        ({"version": 3}, "topic"),
        ({"topic": "elsewhere/x"}, "topic"),
        ({"topic": "{code}"}, "topic"),
        ({"topic": "{code}0/x"}, "topic"),
        ({"topic": "{code}/+/x"}, "topic"),
        ({"topic": "{code}/#"}, "topic"),
        ({"topic": "{code}/a\0"}, "topic"),
        ({"topic": "{code}/\ud800"}, "topic"),
        ({"topic": "{code}/" + "x" * 65_536}, "topic"),
        ({"topic": "", "version": -1}, "version"),
        ({"topic": "", "version": 2**31}, "version"),
        ({"topic": "", "version": 1}, "version"),
        ({"topic": "", "version": 2}, "version"),
        ({"topic": "", "version": 3}, "datalogger.type"),
        ({"datalogger_type": ""}, "datalogger.type"),
        ({"datalogger_number": ""}, "datalogger.number"),
        ({"datalogger_type": "", "datalogger_number": ""}, "datalogger.type"),
        ({"datalogger_type": "a/b"}, "datalogger.type"),
        ({"datalogger_number": "+"}, "datalogger.number"),
        ({"datalogger_number": "a\0"}, "datalogger.number"),
        ({"datalogger_number": "x" * 129}, "datalogger.number"),
        ({"ts_path": "at"}, "ts_path"),
        ({"ts_path": "$." + "x" * 500}, "ts_path"),
        ({"values": []}, "values"),
        ({"values": {"path": "$"}}, "values"),
        ({"values": ["$"]}, "values.0"),
        ({"values": VALUES * 201}, "values"),
        ({"values": VALUES * 2}, "values.1.key"),
        ({"values": [{"key": "t"}]}, "values.0.path"),
        ({"values": [{"path": "t", "key": "t"}]}, "values.0.path"),
        ({"values": [{"path": "$.\0", "key": "t"}]}, "values.0.path"),
        ({"values": [{"path": "$"}]}, "values.0.key"),
        ({"values": [{"path": "$", "key": ""}]}, "values.0.key"),
        ({"values": [{"path": "$", "key": "x" * 129}]}, "values.0.key"),
        ({"values": [{"path": "$", "key": "\0"}]}, "values.0.key"),
        ({"values": [VALUES[0] | {"label": "x" * 201}]}, "values.0.label"),
        ({"values": [VALUES[0] | {"type": "x" * 65}]}, "values.0.type"),
        ({"values": [VALUES[0] | {"unit": "x" * 33}]}, "values.0.unit"),
        ({"values": [VALUES[0] | {"unit": 5}]}, "values.0.unit"),
        ({"values": [VALUES[0] | {"scale": float("nan")}]}, "values.0.scale"),
        ({"values": [VALUES[0] | {"scale": 10**400}]}, "values.0.scale"),
        ({"values": [VALUES[0] | {"scale": True}]}, "values.0.scale"),
        ({"values": [VALUES[0] | {"offset": "1"}]}, "values.0.offset"),
    ],
    ids=lambda given: repr(given)[:70],
)
def test_what_cannot_be_used_names_the_field(north, fields, field):
    if "topic" in fields:
        fields = fields | {"topic": fields["topic"].replace("{code}", north.code)}

    assert refused(north, **fields) == field


def test_there_is_one_mapping_of_a_topic_and_of_a_version(north, hidden):
    create(north)
    create(north, topic="", version=3, datalogger_type="", datalogger_number="")

    for fields in (
        {},
        {"topic": "", "version": 3, "datalogger_type": "", "datalogger_number": ""},
    ):
        with pytest.raises(MappingInvalidError) as error:
            create(north, **fields)
        assert list(error.value.fields) == ["version" if fields else "topic"]
    assert create(hidden).pk


def test_a_site_has_a_bounded_number_of_them(north, monkeypatch):
    monkeypatch.setattr(mappings, "MAX_MAPPINGS", 1)
    row = create(north)

    with pytest.raises(MappingInvalidError):
        create(north, topic=f"{north.code}/other")

    assert mapping_update(row, fields={"ts_path": "$.at"}).ts_path == "$.at"


def test_a_refused_change_changes_nothing(north):
    row = create(north)

    with pytest.raises(MappingInvalidError):
        mapping_update(row, fields={"ts_path": "at"})

    row.refresh_from_db()
    assert row.ts_path == ""


# -- beside --------------------------------------------------------------------


def test_what_was_made_stays_when_it_is_deleted(north):
    mapping_delete(create(north))

    assert Datalogger.objects.exists()
    assert site_rules(north.pk) == NO_RULES


def test_it_is_found_by_the_discovered_topic(north, hidden):
    row = create(north)

    def topic_of(site: Site, topic: str) -> DiscoveredTopic:
        return DiscoveredTopic(site=site, topic=topic, digest=topic_digest(topic))

    assert mapping_of(topic_of(north, row.topic)) == row
    assert mapping_of(topic_of(north, "other")) is None
    assert mapping_of(topic_of(hidden, row.topic)) is None


def test_a_damaged_row_is_left_out(north, caplog):
    row = create(north)
    damaged: tuple[Any, ...] = ([{"path": "no path", "key": "t"}], [{}], ["x"], "x", 5)
    for values in damaged:
        TopicMapping.objects.filter(pk=row.pk).update(values=values)

        assert site_rules(north.pk) == NO_RULES

    assert f"mapping {row.pk} is unusable" in caplog.text
