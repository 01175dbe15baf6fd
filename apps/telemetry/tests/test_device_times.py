"""Device times: seconds to nanoseconds since 1970, ISO 8601 with and without zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.protocols.times import (
    DAY_US,
    YEAR_2000_US,
    BadTimeError,
    device_time_us,
)

ROME = ZoneInfo("Europe/Rome")
NOW = datetime(2025, 11, 19, 10, 10, tzinfo=UTC)
NOW_US = 1_763_547_000_000_000


def us_of(ts: object, *, zone=UTC, received_us: int = NOW_US) -> int | None:
    return device_time_us(ts, received_us, zone)


@pytest.mark.parametrize(
    "ts",
    [
        1_763_547_000,
        1_763_547_000.0,
        1_763_547_000_000,
        1_763_547_000_000.0,
        1_763_547_000_000_000,
        1_763_547_000_000_000_000,
        "2025-11-19T10:10:00Z",
        "2025-11-19T10:10:00+00:00",
        "2025-11-19T11:10:00+01:00",
        "2025-11-19 10:10:00",
        " 2025-11-19T10:10:00.000Z ",
        "20251119T101000Z",
    ],
)
def test_every_unit_and_form_means_the_same_moment(ts):
    assert us_of(ts) == NOW_US


def test_fractions_are_kept_to_the_microsecond():
    assert us_of(1_763_547_000.123456) == NOW_US + 123_456
    assert us_of(1_763_547_000_123.456) == NOW_US + 123_456
    assert us_of("2025-11-19T10:10:00.123456Z") == NOW_US + 123_456
    assert us_of(1_763_547_000_123_456_789) == NOW_US + 123_456


def test_a_time_without_a_zone_is_in_the_sites_zone():
    assert us_of("2025-11-19T11:10:00", zone=ROME) == NOW_US
    assert us_of("2025-07-01T12:00:00", zone=ROME) == us_of("2025-07-01T10:00:00Z")


def test_the_hour_that_comes_twice_is_taken_as_the_first_one():
    assert us_of("2025-10-26T02:30:00", zone=ROME) == us_of("2025-10-26T00:30:00Z")


def test_the_hour_that_does_not_exist_is_still_a_time():
    assert us_of("2025-03-30T02:30:00", zone=ROME) == us_of("2025-03-30T01:30:00Z")


@pytest.mark.parametrize(
    "ts",
    [
        None,
        0,
        -1,
        -1e308,
        946_684_799,
        "1999-12-31T23:59:59Z",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59",
        1e308,
        9_223_372_036_854_775_807,
        (NOW_US + DAY_US) // 1_000_000 + 1,
    ],
)
def test_a_missing_or_impossible_time_is_none(ts):
    assert us_of(ts) is None


def test_the_bounds_themselves_are_times():
    assert us_of(946_684_800) == YEAR_2000_US
    assert us_of((NOW_US + DAY_US) // 1_000_000) == NOW_US + DAY_US


@pytest.mark.parametrize("zone", [UTC, ROME, ZoneInfo("Pacific/Kiritimati")])
@pytest.mark.parametrize("ts", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
def test_the_ends_of_the_calendar_do_not_overflow(ts, zone):
    assert us_of(ts, zone=zone) is None


@pytest.mark.parametrize(
    "ts",
    [
        "",
        "now",
        "19/11/2025",
        "2025-13-01T00:00:00Z",
        "2025-11-19T25:00:00Z",
        "1763547000",
        "\0",
        float("nan"),
        float("inf"),
        True,
        [],
        {},
    ],
)
def test_what_is_no_time_is_refused(ts):
    with pytest.raises(BadTimeError):
        us_of(ts)


@given(
    moment=st.datetimes(
        min_value=datetime(2000, 1, 2),  # noqa: DTZ001 (hypothesis adds the zone)
        max_value=datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    )
)
def test_every_form_of_a_moment_is_exact_to_the_microsecond(moment):
    us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    received_us = us + 1

    assert us_of(moment.isoformat(), received_us=received_us) == us
    assert us_of(us / 1e6, received_us=received_us) == us
    assert us_of(us / 1e3, received_us=received_us) == us
    assert us_of(us, received_us=received_us) == us
    assert us_of(us * 1_000, received_us=received_us) == us


@given(ts=st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_any_value_is_a_time_or_none_or_refused(ts):
    try:
        us = us_of(ts, zone=ROME)
    except BadTimeError:
        return
    assert us is None or YEAR_2000_US <= us <= NOW_US + DAY_US
