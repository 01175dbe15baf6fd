"""Charts over the API: intervals of a sensor, the history of a datalogger."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, time, timedelta

import pytest
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.telemetry import api, history_api, rollups
from apps.telemetry.tests.histories import make_sensor, store


def midnight(days_ago: int) -> datetime:
    day = timezone.now().astimezone(UTC).date() - timedelta(days=days_ago)
    return datetime.combine(day, time(0), UTC)


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


@pytest.fixture
def sensor(north):
    return make_sensor(north)


@pytest.fixture
def ask(viewer, sensor):
    def get(query: str = ""):
        path = f"/api/v1/mqtt/sensors/{sensor.pk}/readings/?{query}"
        return client_of(viewer).get(path)

    return get


@pytest.fixture
def history(viewer, sensor):
    def get(query: str = ""):
        path = f"/api/v1/mqtt/dataloggers/{sensor.datalogger_id}/history/?{query}"
        return client_of(viewer).get(path)

    return get


def hourly(sensor, days_ago: int = 3, hours: int = 48) -> datetime:
    start = midnight(days_ago)
    store(sensor, [(start + timedelta(hours=n), float(n)) for n in range(hours)])
    return start


def test_intervals_are_told_by_their_start_and_empty_ones_left_out(ask, sensor):
    start = midnight(3)
    store(sensor, [(start, 1.0), (start, 3.0), (start + timedelta(hours=2), 5.0)])
    rollups.run()

    answer = ask(f"interval=1h&from={text(start)}").json()

    assert answer == {
        "readings": [
            {"at": text(start), "value": 2.0},
            {"at": text(start + timedelta(hours=2)), "value": 5.0},
        ],
        "interval": "1h",
        "count": 2,
        "truncated": False,
    }


def test_several_figures_come_under_their_own_names(ask, sensor):
    start = hourly(sensor)
    rollups.run()

    [first, _] = ask(f"interval=1d&agg=avg,min,max,count&from={text(start)}").json()[
        "readings"
    ]

    assert first == {
        "at": text(start),
        "avg": 11.5,
        "min": 0.0,
        "max": 23.0,
        "count": 24,
    }


def test_days_are_the_sites_or_those_of_the_zone_asked_for(ask, sensor, north):
    north.timezone = "Asia/Tokyo"
    north.save()
    start = hourly(sensor)
    rollups.run()
    query = f"interval=1d&agg=count&from={text(start)}"

    tokyo = ask(query).json()["readings"]
    utc = ask(f"{query}&tz=UTC").json()["readings"]

    assert [row["value"] for row in tokyo] == [15, 24, 9]
    assert tokyo[0]["at"] == text(start - timedelta(hours=9))
    assert [row["value"] for row in utc] == [24, 24]


def test_auto_says_what_it_chose(ask, history, sensor):
    start = hourly(sensor)

    rollups.run()
    until = f"to={text(midnight(0))}"  # three days; by noon it would be 15 minutes
    assert ask(f"interval=auto&{until}").json()["interval"] == "5m"
    assert (
        ask(f"interval=auto&from={text(midnight(0))}&to={text(midnight(0))}").json()[
            "interval"
        ]
        == "1m"
    )
    since = f"from={text(start)}"
    assert ask(f"interval=auto&{since}&{until}").json()["interval"] == "5m"
    assert ask("interval=auto&from=2020-01-01").json()["interval"] == "1w"
    assert history().json()["interval"] == "5m"


def test_a_text_is_first_or_last_even_from_the_rollups(ask, sensor):
    start = midnight(3)
    store(sensor, [(start, 1.0), (start + timedelta(minutes=9), "open")])
    rollups.run()

    answer = ask("interval=1d&agg=last,first,avg").json()["readings"]

    assert answer == [{"at": text(start), "last": "open", "first": 1.0, "avg": 1.0}]


def test_intervals_are_cut_at_the_cap_and_say_so(ask, sensor, monkeypatch):
    monkeypatch.setattr(api, "JSON_CAP", 3)
    start = hourly(sensor)

    answer = ask(f"interval=1h&from={text(start)}").json()

    assert [row["value"] for row in answer["readings"]] == [0.0, 1.0, 2.0]
    assert (answer["count"], answer["truncated"]) == (48, True)


def test_intervals_stream_as_csv_whatever_the_cap(ask, sensor, monkeypatch):
    monkeypatch.setattr(api, "JSON_CAP", 3)
    start = hourly(sensor)
    rollups.run()

    answer = ask(f"interval=1h&agg=min,max&format=csv&from={text(start)}")

    lines = answer.getvalue().decode().splitlines()
    assert lines[0] == "at,min,max"
    assert lines[1] == f"{text(start)},0.0,0.0"
    assert len(lines) == 49


@pytest.mark.parametrize(
    "query",
    [
        "interval=1d&from=0001-01-01T00:00:00Z&to=0001-01-02T00:00:00Z",
        "interval=6h&to=9999-12-31T23:59:59Z&tz=Pacific/Kiritimati",
        "interval=all&from=9999-12-31T00:00:00Z",
        "interval=auto&to=0001-01-01T00:00:00Z",
        "interval=1mo&from=0001-01-01T00:00:00Z&tz=America/New_York",
        "interval=15m&agg=first,last,count,sum,avg,min,max",
    ],
)
def test_far_times_and_every_figure_are_answered(ask, history, sensor, query):
    hourly(sensor)

    for answer in (ask(query), history(query), ask(f"{query}&format=csv")):
        assert answer.status_code == 200, answer.content


def test_a_datalogger_answers_for_all_its_sensors(history, sensor, north):
    quiet = make_sensor(north, "hum")
    other = make_sensor(north, "t_int")
    elsewhere = make_sensor(north, number="16")
    start = midnight(2)
    store(sensor, [(start, 1.0)])
    store(other, [(start, 2.0), (start, 4.0)])
    store(elsewhere, [(start, 9.0)])

    answer = history(f"from={text(start)}&to={text(midnight(1))}&interval=1h").json()

    assert [(row["key"], row["readings"]) for row in answer.pop("sensors")] == [
        ("hum", []),
        ("t_ext", [{"at": text(start), "value": 1.0}]),
        ("t_int", [{"at": text(start), "value": 3.0}]),
    ]
    assert answer == {
        "datalogger_id": sensor.datalogger_id,
        "interval": "1h",
        "agg": "avg",
        "from": text(start),
        "to": text(midnight(1)),
        "count": 2,
        "truncated": False,
    }
    assert quiet.pk


def test_a_history_is_the_last_24_hours_unless_asked_otherwise(history, sensor):
    now = timezone.now()
    store(sensor, [(now - timedelta(hours=n), float(n)) for n in (0, 23, 25)])

    [row] = history("interval=raw").json()["sensors"]

    assert [point["value"] for point in row["readings"]] == [23.0, 0.0]


def test_a_history_without_sensors_is_empty(history, sensor):
    sensor.delete()

    for interval in ("raw", "auto", "1d", "all"):
        assert history(f"interval={interval}").json()["sensors"] == []


def test_the_cap_holds_for_all_sensors_together(history, sensor, north, monkeypatch):
    monkeypatch.setattr(history_api, "JSON_CAP", 3)
    start = hourly(sensor)
    store(make_sensor(north, "hum"), [(start, 1.0), (start + timedelta(1), 2.0)])

    for interval in ("raw", "1h"):
        answer = history(f"interval={interval}&from={text(start)}").json()

        assert sum(len(row["readings"]) for row in answer["sensors"]) == 3
        assert (answer["count"], answer["truncated"]) == (50, True)
        assert all(row["readings"] for row in answer["sensors"])


def test_a_history_as_csv_names_the_sensors(history, sensor, north):
    start = midnight(2)
    hum = make_sensor(north, "hum")
    store(sensor, [(start, 1.0), (start, "a,b")])
    store(hum, [(start, 2.0)])

    answer = history(f"format=csv&interval=raw&from={text(start)}")

    rows = list(csv.reader(io.StringIO(answer.getvalue().decode(), newline="")))
    assert rows == [
        ["at", "sensor_id", "key", "value"],
        [text(start), str(hum.pk), "hum", "2.0"],
        [text(start), str(sensor.pk), "t_ext", "1.0"],
        [text(start), str(sensor.pk), "t_ext", "a,b"],
    ]


def test_its_queries_do_not_depend_on_the_number_of_sensors(
    history, sensor, north, django_assert_max_num_queries
):
    for n in range(20):
        store(make_sensor(north, f"s{n}"), [(midnight(2), 1.0)])

    with django_assert_max_num_queries(12):
        assert history("interval=1h").status_code == 200


def test_a_hidden_datalogger_has_no_history(hidden, outsider):
    sensor = make_sensor(hidden)

    answer = client_of(outsider).get(
        f"/api/v1/mqtt/dataloggers/{sensor.datalogger_id}/history/"
    )

    assert answer.status_code == 404
    assert is_error(answer.json())
