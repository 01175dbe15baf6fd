"""How a range of time is cut: calendars, changes of clocks, levels."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.pieces import (
    LENGTHS_S,
    Level,
    choose_interval,
    cut,
    day_start,
    edges,
    levels_for,
    runs,
)

ROME = ZoneInfo("Europe/Rome")
INDIA = ZoneInfo("Asia/Kolkata")
ALL: tuple[Level, ...] = ("1d", "1h", "1m", "raw")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(pieces) -> list[str]:
    return [f"{p.level} {p.start:%d %H:%M:%S}-{p.end:%d %H:%M:%S}" for p in pieces]


@pytest.mark.parametrize(
    ("day", "zone", "start", "hours"),
    [
        (date(2026, 3, 29), ROME, "2026-03-28 23:00", 23),
        (date(2026, 10, 25), ROME, "2026-10-24 22:00", 25),
        (date(2026, 11, 21), INDIA, "2026-11-20 18:30", 24),
        # Havana's clocks change at midnight: once skipped, once there twice.
        (date(2026, 3, 8), ZoneInfo("America/Havana"), "2026-03-08 05:00", 23),
        (date(2026, 11, 1), ZoneInfo("America/Havana"), "2026-11-01 04:00", 25),
        # Lord Howe moves by half an hour.
        (date(2026, 4, 5), ZoneInfo("Australia/Lord_Howe"), "2026-04-04 13:00", 24.5),
        # Samoa crossed the date line: this day never was.
        (date(2011, 12, 30), ZoneInfo("Pacific/Apia"), "2011-12-30 10:00", 0),
    ],
)
def test_a_local_day_begins_with_its_first_instant(day, zone, start, hours):
    begin, end = day_start(day, zone), day_start(day + timedelta(days=1), zone)

    assert begin == utc(start)
    assert end - begin == timedelta(hours=hours)


def test_a_range_is_read_from_the_coarsest_level_that_fits():
    pieces = cut(
        utc("2026-11-01 10:17:30"), utc("2026-11-04 02:02:05"), levels=ALL, zone=ROME
    )

    assert told(pieces) == [
        "raw 01 10:17:30-01 10:18:00",
        "1m 01 10:18:00-01 11:00:00",
        "1h 01 11:00:00-01 23:00:00",
        "1d 01 23:00:00-03 23:00:00",
        "1h 03 23:00:00-04 02:00:00",
        "1m 04 02:00:00-04 02:02:00",
        "raw 04 02:02:00-04 02:02:05",
    ]


def test_what_is_not_rolled_up_is_read_from_the_readings():
    pieces = cut(
        utc("2026-11-01 10:00"),
        utc("2026-11-01 13:00"),
        levels=("1h", "1m", "raw"),
        zone=UTC,
        unrolled=[
            (utc("2026-11-01 12:55"), utc("2026-11-01 13:00")),
            (utc("2026-11-01 11:30"), utc("2026-11-01 11:31")),
        ],
    )

    assert told(pieces) == [
        "1h 01 10:00:00-01 11:00:00",
        "1m 01 11:00:00-01 11:30:00",
        "raw 01 11:30:00-01 11:31:00",
        "1m 01 11:31:00-01 12:55:00",
        "raw 01 12:55:00-01 13:00:00",
    ]


def test_what_no_level_holds_any_more_is_left_out():
    pieces = cut(
        utc("2026-11-01 10:17:30"),
        utc("2026-11-01 12:00"),
        levels=("1h", "1m", "raw"),
        zone=UTC,
        kept_from={"raw": utc("2026-11-02"), "1m": utc("2026-11-01 10:30")},
    )

    assert told(pieces) == [
        "1m 01 10:30:00-01 11:00:00",
        "1h 01 11:00:00-01 12:00:00",
    ]


def test_nothing_lies_in_an_empty_or_turned_range():
    now = utc("2026-11-01 10:00")

    assert cut(now, now, levels=ALL, zone=ROME) == []
    assert cut(now, now - timedelta(days=1), levels=ALL, zone=ROME) == []


# A year that begins with the day that Samoa left out.
times = st.integers(0, 365 * 86_400).map(
    lambda second: datetime(2011, 12, 1, tzinfo=UTC) + timedelta(seconds=second)
)
zone_names = st.sampled_from(
    ["UTC", "Europe/Rome", "Asia/Kolkata", "America/Havana", "Pacific/Apia"]
)


@given(times, times, zone_names, st.lists(st.tuples(times, times), max_size=3))
def test_every_instant_is_in_exactly_one_piece(one, other, name, unrolled):
    start, end = min(one, other), max(one, other)
    stretches = [(min(pair), max(pair)) for pair in unrolled]

    pieces = cut(start, end, levels=ALL, zone=ZoneInfo(name), unrolled=stretches)

    at = start
    for piece in pieces:
        assert piece.start == at < piece.end
        at = piece.end
        for since, until in stretches:
            if piece.level != "raw":
                assert piece.end <= since or piece.start >= until or since == until
    assert at == end


@given(times, times, zone_names, st.sampled_from(["6h", "1d", "1w", "1mo"]))
def test_the_edges_of_a_calendar_enclose_the_range_and_rise(one, other, name, interval):
    start, end = min(one, other), max(one, other)

    found = edges(interval, start, end, ZoneInfo(name))

    assert found[0] <= start
    assert found[-1] >= end
    assert all(a < b for a, b in pairwise(found))
    assert len(found) < 2 or found[1] > start


def test_weeks_begin_on_monday_and_months_on_the_first():
    start, end = utc("2026-11-21 12:00"), utc("2026-12-02 12:00")

    weeks = edges("1w", start, end, ROME)
    months = edges("1mo", start, end, ROME)

    assert [f"{edge:%d %H:%M}" for edge in weeks] == [
        "15 23:00",
        "22 23:00",
        "29 23:00",
        "06 23:00",
    ]
    assert [f"{edge:%m-%d}" for edge in months] == ["10-31", "11-30", "12-31"]


def test_quarters_of_a_day_are_those_of_the_clock_on_the_wall():
    found = edges("6h", utc("2026-03-28 23:00"), utc("2026-03-29 12:00"), ROME)

    assert [f"{edge:%H:%M}" for edge in found] == ["23:00", "04:00", "10:00", "16:00"]


def test_an_hour_that_belongs_to_two_days_is_read_by_the_minute():
    start, end = utc("2026-11-01"), utc("2026-11-09")

    for zone, levels in ((ROME, ALL), (INDIA, ("1d", "1m", "raw"))):
        starts = edges("1d", start, end, zone)

        assert levels_for("1d", starts, has_days=True) == levels


def test_days_of_another_zone_are_not_used():
    assert levels_for("1d", [], has_days=False) == ("1h", "1m", "raw")
    assert levels_for("6h", [], has_days=True) == ("1h", "1m", "raw")
    assert levels_for("15m", [], has_days=True) == ("1m", "raw")


@pytest.mark.parametrize(
    ("days", "wanted"),
    [(0, "1m"), (0.5, "1m"), (1, "5m"), (7, "15m"), (30, "1h"), (180, "6h")],
)
def test_auto_is_the_finest_with_a_thousand_points(days, wanted):
    start = utc("2026-01-01")

    assert choose_interval(start, start + timedelta(days=days)) == wanted


@given(st.integers(0, 400_000))
def test_auto_never_has_many_more_points(hours):
    start = utc("2026-01-01")
    interval = choose_interval(start, start + timedelta(hours=hours))

    assert hours * 3600 / LENGTHS_S[interval] <= 1_000


def test_minutes_are_joined_and_their_stretches_bounded():
    assert runs([], most=3) == []
    assert runs([3, 1, 2, 9], most=3) == [
        (utc("1970-01-01 00:01"), utc("1970-01-01 00:04")),
        (utc("1970-01-01 00:09"), utc("1970-01-01 00:10")),
    ]
    every_other = range(0, 600, 2)
    assert runs(every_other, most=3) == [
        (utc("1970-01-01 00:00"), utc("1970-01-01 10:00"))
    ]
    scattered = range(7, 1_000_000, 100_000)
    [(first, last)] = runs(scattered, most=3)
    assert first <= utc("1970-01-01 00:07")
    assert last > utc("1970-01-01") + timedelta(minutes=900_007)
