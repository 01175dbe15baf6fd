"""Pure parts of the device pages: durations, ranges, curves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from apps.web.curves import curve_path
from apps.web.durations import duration_text
from apps.web.ranges import first_span, local_text, wish_of

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
HOUR_AGO = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (95, "1 min 35 s"),
        (3_600, "1 h"),
        (3_660, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (400 * 86_400 + 7_200, "400 d 2 h"),
    ],
)
def test_it_says_how_long_in_two_units(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"range": "2h", "interval": "2m", "agg": "median"},
        {"range": "custom"},
        {"range": "custom", "from": "soon", "to": "later"},
        {"range": "custom", "from": "2026-02-30T00:00", "to": "2026-03-01T00:00"},
        {"range": "custom", "from": "2026-03-02T00:00", "to": "2026-03-01T00:00"},
        {"range": "custom", "from": "0001-01-01T00:00", "to": "9999-12-31T23:59"},
    ],
)
def test_it_shows_the_last_day_for_an_address_without_sense(query):
    wish = wish_of(query, zone="Europe/Rome")

    assert (wish.span, wish.start, wish.interval, wish.agg) == (
        "24h",
        None,
        "auto",
        "avg",
    )


@pytest.mark.parametrize(
    ("minutes", "span"),
    [(0, "15m"), (15, "15m"), (16, "1h"), (60, "1h"), (61, "24h"), (90_000, "24h")],
)
def test_the_first_chart_of_a_new_device_is_no_empty_day(minutes, span):
    assert first_span(timedelta(minutes=minutes)) == span


def test_it_reads_times_in_the_zone_of_the_site_unless_they_say_another():
    query = {
        "range": "custom",
        "from": "2026-07-01T12:00",
        "to": "2026-07-01T12:00:00+00:00",
    }

    wish = wish_of(query, zone="Europe/Rome")

    assert wish.start == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert wish.end == datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert local_text(wish.end, "Europe/Rome") == "2026-07-01T14:00:00"


def test_a_range_that_ends_now_has_no_end_in_its_file():
    query = parse_qs(
        wish_of({"range": "7d"}, zone="").csv_query(now=NOW), strict_parsing=True
    )

    assert query["from"] == ["2026-11-14T10:00:00.000Z"]
    assert "to" not in query


def points(*pairs):
    return [(HOUR_AGO + timedelta(minutes=minute), value) for minute, value in pairs]


def test_a_curve_fills_its_height_and_leaves_gaps_open():
    found = curve_path(
        points((0, 1.0), (1, 3.0), (2, 2.0), (30, 1.0), (31, 1.0)), HOUR_AGO, NOW
    )

    assert found.startswith("M0.0 23.0L2.0 1.0L4.0 12.0h.1M60.0 23.0L62.0")


def test_a_curve_that_never_changes_runs_through_the_middle():
    assert curve_path(points((0, 5.0), (60, 5.0)), HOUR_AGO, NOW) == (
        "M0.0 12.0L120.0 12.0h.1"
    )


@pytest.mark.parametrize("few", [[], [(0, 1.0)]])
def test_fewer_than_two_values_are_no_curve(few):
    assert curve_path(points(*few), HOUR_AGO, NOW) == ""
