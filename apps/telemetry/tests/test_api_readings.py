"""A sensor's readings over the API: every one, one figure for all, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.core.tests.clients import client_of, is_error
from apps.devices.models import Datalogger, SensorDevice
from apps.telemetry import api
from apps.telemetry.models import Reading
from apps.telemetry.rollups import mark_due
from apps.telemetry.tests.histories import us

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _kept_for_ever(settings):
    settings.TELEMETRY_RETENTION_DAYS = 36_500


@pytest.fixture
def sensor(north) -> SensorDevice:
    datalogger = Datalogger.objects.create(site=north, type="monstro", number="15")
    return SensorDevice.objects.create(datalogger=datalogger, key="t_ext")


@pytest.fixture
def ask(viewer, sensor):
    """Return a function that asks for the sensor's readings."""

    def get(query: str = "", **headers: str):
        path = f"/api/v1/mqtt/sensors/{sensor.pk}/readings/?{query}"
        return client_of(viewer).get(path, headers=headers)

    return get


def store(sensor: SensorDevice, *values: float | str | None, start=AT) -> None:
    """Store one reading a minute."""
    readings = [
        Reading(
            sensor=sensor,
            measured_at=start + timedelta(minutes=place),
            received_at=AT,
            value=None if isinstance(value, str) else value,
            text=value if isinstance(value, str) else None,
        )
        for place, value in enumerate(values)
    ]
    Reading.objects.bulk_create(readings)
    mark_due([(sensor.pk, us(row.measured_at), 0, 0, None, 0, 0) for row in readings])


def values(answer):
    assert answer.status_code == 200, answer.content
    return [reading["value"] for reading in answer.json()["readings"]]


def test_raw_is_every_stored_reading_oldest_first(ask, sensor):
    store(sensor, 2.0, start=AT + timedelta(days=2, microseconds=7))
    store(sensor, 22.5, "open", 1.0)

    answer = ask()

    assert answer.json() == {
        "readings": [
            {"at": "2026-11-21T10:00:00Z", "value": 22.5},
            {"at": "2026-11-21T10:01:00Z", "value": "open"},
            {"at": "2026-11-21T10:02:00Z", "value": 1.0},
            {"at": "2026-11-23T10:00:00.000007Z", "value": 2.0},
        ],
        "interval": "raw",
        "count": 4,
        "truncated": False,
    }


def test_two_values_at_one_time_are_both_there(ask, sensor):
    store(sensor, 2.0)
    store(sensor, 1.0)
    store(sensor, "x")

    assert values(ask()) == [1.0, 2.0, "x"]


def test_readings_of_another_sensor_are_not_among_them(ask, sensor):
    other = SensorDevice.objects.create(datalogger=sensor.datalogger, key="hum")
    store(other, 1.0)

    assert ask().json()["readings"] == []


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("from=2026-11-21T10:01:00Z", [1.0, 2.0, 3.0]),
        ("to=2026-11-21T10:01:00Z", [0.0]),
        ("from=2026-11-21T10:01:00Z&to=2026-11-21T10:03:00Z", [1.0, 2.0]),
        ("from=2026-11-21T11:01:00%2B01:00&to=", [1.0, 2.0, 3.0]),
        ("from=2026-11-21T11:01:00+01:00", [1.0, 2.0, 3.0]),
        ("from=2026-11-21T10:01:00", [1.0, 2.0, 3.0]),
        ("from=2026-11-21", [0.0, 1.0, 2.0, 3.0]),
        ("from=2026-11-21T10:01:00Z&to=2026-11-21T10:01:00Z", []),
        ("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", [0.0, 1.0, 2.0, 3.0]),
    ],
)
def test_a_range_holds_its_start_and_not_its_end(ask, sensor, query, wanted):
    store(sensor, 0.0, 1.0, 2.0, 3.0)

    assert values(ask(query)) == wanted


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("from=yesterday", "from"),
        ("from=2026-13-01T00:00:00Z", "from"),
        ("to=1763547000", "to"),
        ("to=9999-12-31T23:59:59-14:00", "to"),
        ("from=0001-01-01T00:00:00%2B14:00", "from"),
        ("from=2026-11-21T10:01:00Z&to=2026-11-21T10:00:00Z", "to"),
        ("interval=7m", "interval"),
        ("interval=1h&tz=Europe/Roma", "tz"),
        ("interval=1h&tz=%00", "tz"),
        ("agg=avg,median", "agg"),
        ("agg=,", "agg"),
        ("interval=%00", "interval"),
        ("agg=median", "agg"),
        ("format=xml", "format"),
    ],
)
def test_a_wrong_parameter_is_named(ask, query, where):
    answer = ask(query)

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [where]


def test_an_interval_that_is_not_offered_says_which_are(ask):
    assert "raw, 1m, 5m" in ask("interval=7m").json()["message"]


@pytest.mark.parametrize(
    ("agg", "wanted"),
    [
        ("", 3.0),
        ("avg", 3.0),
        ("min", 1.0),
        ("max", 6.0),
        ("sum", 9.0),
        ("count", 4),
        ("first", 2.0),
        ("last", "shut"),
    ],
)
def test_all_is_one_figure_over_the_range(ask, sensor, agg, wanted):
    store(sensor, 2.0, 6.0, 1.0, "shut", 100.0)

    answer = ask(f"interval=all&agg={agg}&to=2026-11-21T10:04:00Z")

    assert answer.json() == {
        "readings": [{"at": "2026-11-21T10:00:00Z", "value": wanted}],
        "interval": "all",
        "count": 1,
        "truncated": False,
    }


def test_the_figures_time_is_the_ranges_start(ask, sensor):
    store(sensor, 2.0)

    for agg in ("avg", "last"):
        [reading] = ask(f"interval=all&agg={agg}&from=2026-11-20T00:00:00Z").json()[
            "readings"
        ]

        assert reading == {"at": "2026-11-20T00:00:00Z", "value": 2.0}


def test_a_figure_without_readings_is_not_there(ask):
    for agg in ("avg", "count", "first"):
        assert values(ask(f"interval=all&agg={agg}")) == []


def test_a_figure_of_texts_alone_is_null(ask, sensor):
    store(sensor, "open", "shut")

    assert values(ask("interval=all&agg=avg")) == [None]
    assert values(ask("interval=all&agg=count")) == [2]
    assert values(ask("interval=all&agg=first")) == ["open"]


def test_a_sum_beyond_all_numbers_is_refused(ask, sensor):
    store(sensor, 1e308, 1e308)

    answer = ask("interval=all&agg=sum")

    assert answer.status_code == 422
    assert is_error(answer.json())


def test_what_is_no_number_for_json_is_null(ask, sensor):
    store(sensor, float("nan"), float("inf"), 1.0)

    assert values(ask()) == [None, None, 1.0]
    json.loads(ask().content, parse_constant=pytest.fail)


def test_json_is_cut_at_the_cap_and_says_so(ask, sensor, monkeypatch):
    monkeypatch.setattr(api, "JSON_CAP", 3)
    store(sensor, 0.0, 1.0, 2.0)
    whole = ask().json()
    store(sensor, 3.0, 4.0, start=AT + timedelta(hours=1))
    cut = ask().json()

    assert (len(whole["readings"]), whole["count"], whole["truncated"]) == (3, 3, False)
    assert (len(cut["readings"]), cut["count"], cut["truncated"]) == (3, 5, True)
    assert [reading["value"] for reading in cut["readings"]] == [0.0, 1.0, 2.0]


def test_csv_has_every_row_whatever_the_cap(ask, sensor, monkeypatch):
    monkeypatch.setattr(api, "JSON_CAP", 3)
    store(sensor, *range(5_001))

    answer = ask("format=csv", accept="text/csv")

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert f"sensor-{sensor.pk}.csv" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.getvalue().decode())))
    assert rows[0] == ["at", "value"]
    assert rows[1] == ["2026-11-21T10:00:00Z", "0.0"]
    assert [float(value) for _, value in rows[1:]] == list(range(5_001))


def test_csv_quotes_what_needs_it(ask, sensor):
    text = 'a "quoted", text\nin two lines é'
    store(sensor, text, float("nan"), 22.5)

    answer = ask("format=csv&to=2026-12-01T00:00:00Z")

    rows = list(csv.reader(io.StringIO(answer.getvalue().decode(), newline="")))
    assert [value for _, value in rows[1:]] == [text, "", "22.5"]


def test_csv_of_a_figure_is_one_row(ask, sensor):
    store(sensor, 1.0, 2.0)

    answer = ask("format=csv&interval=all&agg=max")

    assert answer.getvalue() == b"at,value\r\n2026-11-21T10:00:00Z,2.0\r\n"


def test_csv_of_nothing_is_its_header(ask):
    assert ask("format=csv").getvalue() == b"at,value\r\n"


def test_csv_errors_are_json(ask):
    answer = ask("format=csv&from=x", accept="text/csv")

    assert answer.status_code == 400
    assert is_error(answer.json())


@pytest.mark.django_db(transaction=True)
def test_a_csv_that_nobody_reads_on_ends_its_transaction(ask, sensor):
    store(sensor, *range(5_001))
    answer = ask("format=csv")
    pieces = iter(answer.streaming_content)
    next(pieces)
    next(pieces)
    assert connection.in_atomic_block

    answer.close()

    assert not connection.in_atomic_block


def test_its_query_count_does_not_depend_on_the_readings(
    ask, sensor, django_assert_num_queries
):
    for size in (10, 40):
        store(sensor, *range(size), start=AT + timedelta(days=size))

        with django_assert_num_queries(3):  # user, sensor, readings
            ask()
