"""Dataloggers, sensors and gateways over the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.devices.models import Datalogger, Gateway, PresencePeriod, SensorDevice
from apps.devices.selectors import site_dataloggers
from apps.devices.uptime import uptime_percentages

DATALOGGERS = "/api/v1/mqtt/dataloggers/"
SENSORS = "/api/v1/mqtt/sensors/by_datalogger"
AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


def datalogger(site, number="15", **fields) -> Datalogger:
    return Datalogger.objects.create(site=site, type="monstro", number=number, **fields)


def period(row, presence, start_h, end_h, *, now) -> None:
    """Store a period from `start_h` to `end_h` hours ago; None is still open."""
    PresencePeriod.objects.create(
        datalogger=row,
        presence=presence,
        started_at=now - timedelta(hours=start_h),
        ended_at=None if end_h is None else now - timedelta(hours=end_h),
    )


def numbers(client, query: str) -> list[str]:
    body = client.get(f"{DATALOGGERS}?{query}").json()
    return [row["number"] for row in body["dataloggers"]]


def test_a_datalogger_has_the_documents_fields_and_more(viewer, north):
    gateway = Gateway.objects.create(site=north, number="1")
    row = datalogger(
        north,
        gateway=gateway,
        label="Datalogger Edificio A",
        serial_number="MONSTR-001",
        firmware_version="V.5.53.0",
        presence="online",
        presence_since=AT,
        last_seen_at=AT.replace(microsecond=5),
        interval_s=60,
        uptime_s=86_400,
        rssi=-67,
        battery=3.9,
    )
    for key in ("t_ext", "hum"):
        SensorDevice.objects.create(datalogger=row, key=key)
    period(row, "online", 30, None, now=timezone.now())

    body = client_of(viewer).get(f"{DATALOGGERS}?site_id={north.pk}").json()

    assert body == {
        "dataloggers": [
            {
                "id": row.pk,
                "site_id": north.pk,
                "serial_number": "MONSTR-001",
                "label": "Datalogger Edificio A",
                "is_online": True,
                "firmware_version": "V.5.53.0",
                "sensors_count": 2,
                "uptime_percentage": 100.0,
                "site_name": "North",
                "gateway_id": gateway.pk,
                "type": "monstro",
                "number": "15",
                "presence": "online",
                "presence_since": "2026-11-21T10:00:00Z",
                "offline_cause": "",
                "offline_after_s": None,
                "last_seen_at": "2026-11-21T10:00:00.000005Z",
                "interval_s": 60,
                "uptime_s": 86_400,
                "rssi": -67.0,
                "battery": 3.9,
                "protocol_version": None,
            }
        ],
        "count": 1,
        "next": None,
        "previous": None,
    }
    one = client_of(viewer).get(f"{DATALOGGERS}{row.pk}/").json()
    uptime = {"24h": 100.0, "7d": 100.0, "30d": 100.0, "month": 100.0}
    assert one == body["dataloggers"][0] | {"uptime": uptime}


def test_a_datalogger_that_said_nothing_yet_still_has_a_name(viewer, north):
    row = datalogger(north)

    body = client_of(viewer).get(f"{DATALOGGERS}{row.pk}/").json()

    assert body["label"] == "monstro 15"
    assert (body["is_online"], body["presence"]) == (False, "unknown")
    assert (body["uptime_percentage"], body["sensors_count"]) == (None, 0)


def test_numbers_that_json_cannot_say_are_null(viewer, north):
    row = datalogger(north, rssi=float("nan"), battery=float("inf"))
    SensorDevice.objects.create(datalogger=row, key="a", current_value=float("-inf"))

    listed = client_of(viewer).get(DATALOGGERS)
    sensors = client_of(viewer).get(f"{SENSORS}?datalogger_id={row.pk}")

    assert listed.json()["dataloggers"][0]["rssi"] is None
    assert listed.json()["dataloggers"][0]["battery"] is None
    assert sensors.json()["sensors"][0]["current_value"] is None


def test_the_list_is_narrowed_by_site_presence_and_words(viewer, north, hidden):
    datalogger(north, "1", presence="online", label="Edificio A")
    datalogger(north, "2", presence="offline", serial_number="MONSTR-002")
    datalogger(hidden, "3", presence="online", label="100%_off")
    client = client_of(viewer)

    assert numbers(client, "") == ["1", "2", "3"]
    assert numbers(client, f"site_id={north.pk}") == ["1", "2"]
    assert numbers(client, "site_id=&online_only=&search=") == ["1", "2", "3"]
    assert numbers(client, "online_only=true") == ["1", "3"]
    assert numbers(client, "online_only=false") == ["1", "2", "3"]
    assert numbers(client, "search=edificio") == ["1"]
    assert numbers(client, "search=onstr-00") == ["2"]
    assert numbers(client, "search=MONSTRO 3") == ["3"]
    assert numbers(client, "search=%25_") == ["3"]
    assert numbers(client, "search=_dificio") == []
    assert numbers(client, f"search=edificio&site_id={hidden.pk}") == []


@pytest.mark.parametrize(
    "query", ["site_id=x", "online_only=maybe", "search=%00", "search=" + "x" * 201]
)
def test_a_wrong_parameter_is_named(viewer, query):
    answer = client_of(viewer).get(f"{DATALOGGERS}?{query}")

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [query.split("=")[0]]


@pytest.mark.parametrize("path", [SENSORS, f"{SENSORS}/"])
def test_sensors_have_the_documents_fields_and_more(viewer, north, path):
    row = datalogger(north, presence="online")
    number = SensorDevice.objects.create(
        datalogger=row,
        key="t_ext",
        label="Temperatura Esterna",
        sensor_type="temperature",
        unit_of_measure="°C",
        current_value=22.5,
        current_at=AT,
    )
    text = SensorDevice.objects.create(datalogger=row, key="u", current_text="open")
    silent = SensorDevice.objects.create(datalogger=row, key="v")

    body = client_of(viewer).get(f"{path}?datalogger_id={row.pk}").json()

    assert body["sensors"][0] == {
        "id": number.pk,
        "label": "Temperatura Esterna",
        "sensor_type": "temperature",
        "is_online": True,
        "current_value": 22.5,
        "unit_of_measure": "°C",
        "datalogger_id": row.pk,
        "key": "t_ext",
        "current_at": "2026-11-21T10:00:00Z",
    }
    shown = [(s["id"], s["label"], s["current_value"]) for s in body["sensors"][1:]]
    assert shown == [(text.pk, "u", "open"), (silent.pk, "v", None)]
    assert body["count"] == 3


@pytest.mark.parametrize("query", ["", "?datalogger_id=", "?datalogger_id=x"])
def test_sensors_need_their_datalogger(viewer, query):
    answer = client_of(viewer).get(f"{SENSORS}{query}")

    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["datalogger_id"]


def test_gateways_have_presence(viewer, north):
    row = Gateway.objects.create(
        site=north, number="7", presence="online", presence_since=AT
    )
    datalogger(north, gateway=row)

    body = client_of(viewer).get(f"/api/v1/mqtt/gateways/?site_id={north.pk}").json()

    assert body["gateways"] == [
        {
            "id": row.pk,
            "site_id": north.pk,
            "number": "7",
            "label": "gateway 7",
            "serial_number": "",
            "firmware_version": "",
            "is_online": True,
            "presence": "online",
            "presence_since": "2026-11-21T10:00:00Z",
            "offline_cause": "",
            "offline_after_s": None,
            "last_seen_at": None,
            "interval_s": None,
            "uptime_s": None,
            "rssi": None,
            "battery": None,
            "dataloggers_count": 1,
        }
    ]


@pytest.mark.parametrize(
    ("periods", "wanted"),
    [
        ([], None),
        ([("unknown", 5, None)], None),
        ([("online", 5, None)], 100.0),
        ([("offline", 5, None)], 0.0),
        ([("offline", 50, 12), ("online", 12, None)], 50.0),
        ([("online", 40, 30), ("offline", 30, None)], 0.0),
        ([("online", 24, 6), ("unknown", 6, 2), ("offline", 2, None)], 90.0),
        ([("online", 3, 0), ("offline", 0, None)], 100.0),
        ([("online", 3, -1)], 100.0),
        ([("online", -1, None)], None),
        ([("online", 3, 2), ("offline", 2, 0)], 33.33),
    ],
)
def test_uptime_counts_known_time_of_the_last_day(north, periods, wanted):
    now = AT
    row, other = datalogger(north, "1"), datalogger(north, "2")
    period(other, "offline", 10, None, now=now)
    for presence, start_h, end_h in periods:
        period(row, presence, start_h, end_h, now=now)

    assert uptime_percentages([row.pk], now=now).get(row.pk) == wanted


def test_no_list_asks_more_for_more_rows(superuser, north, django_assert_num_queries):
    client = client_of(superuser)
    gateway = Gateway.objects.create(site=north, number="1")
    for place in range(40):
        row = datalogger(north, f"{place:02}", gateway=gateway)
        SensorDevice.objects.create(datalogger=row, key="a")
        Gateway.objects.create(site=north, number=f"g{place}")
        period(row, "online", 5, None, now=AT)
        if place in (9, 39):
            with django_assert_num_queries(5):  # user, count, rows, sensors, uptime
                client.get(DATALOGGERS)
            with django_assert_num_queries(3):  # user, datalogger, sensors
                client.get(f"{SENSORS}?datalogger_id={row.pk}")
            with django_assert_num_queries(4):  # user, count, rows, dataloggers
                client.get("/api/v1/mqtt/gateways/")
            with django_assert_num_queries(4):  # rows, sensors, counts, uptime
                found = site_dataloggers(north, now=AT)
            assert (len(found), len(found[-1].sensors)) == (place + 1, 1)
