"""The pure parts: what can be pressed, and how numbers and ages read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import translation

from apps.web.formats import age_text, number_text, value_text
from apps.web.rows import controls_for, is_slow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "is_enabled", "slow", "start", "stop"),
    [
        ("disconnected", False, False, True, False),
        ("connecting", True, False, False, True),
        ("connecting", True, True, True, True),
        ("connected", True, False, False, True),
        ("error", True, False, True, True),  # tries again at once
        ("error", False, False, True, False),
        ("disabled", False, False, False, False),
        ("disabled", False, True, True, False),
    ],
)
def test_it_offers_what_makes_sense(status, is_enabled, slow, start, stop):
    controls = controls_for(
        status, is_enabled=is_enabled, has_broker=True, is_slow=slow
    )

    assert (controls.can_start, controls.can_stop) == (start, stop)


@pytest.mark.parametrize(
    ("status", "is_enabled", "slow", "restart"),
    [
        ("connected", True, False, True),
        ("error", True, False, True),
        ("connecting", True, False, False),  # it is being done
        ("connecting", True, True, True),
        ("disconnected", False, False, False),
        ("disabled", False, True, False),
    ],
)
def test_it_restarts_what_is_meant_to_run(status, is_enabled, slow, restart):
    controls = controls_for(
        status, is_enabled=is_enabled, has_broker=True, is_slow=slow
    )

    assert controls.can_restart is restart


def test_it_never_starts_without_a_broker():
    controls = controls_for("error", is_enabled=True, has_broker=False, is_slow=False)

    assert (controls.can_start, controls.can_restart) == (False, False)
    assert controls.can_stop


def test_only_a_change_under_way_is_slow():
    long_ago = NOW - timedelta(seconds=36)

    assert is_slow("connecting", long_ago, now=NOW)
    assert not is_slow("connecting", NOW - timedelta(seconds=35), now=NOW)
    assert not is_slow("connected", long_ago, now=NOW)
    assert not is_slow("connecting", None, now=NOW)


@pytest.mark.parametrize(
    ("value", "english", "italian"),
    [
        (0.0, "0", "0"),
        (-0.0, "0", "0"),
        (22.5, "22.5", "22,5"),
        (51.0, "51", "51"),
        (23.45678, "23.457", "23,457"),
        (-0.0042, "-0.0042", "-0,0042"),
        (0.00000123, "0.000001", "0,000001"),
        (1.2e-9, "1.2e-9", "1.2e-9"),
        (1234567.25, "1,234,567.25", "1.234.567,25"),
        (1e300, "1e300", "1e300"),
        (float("nan"), "–", "–"),
    ],
)
def test_it_writes_numbers_as_people_do(value, english, italian):
    with translation.override("en"):
        assert number_text(value) == english
    with translation.override("it"):
        assert number_text(value) == italian


def test_it_writes_values_by_their_kind():
    with translation.override("it"):
        assert value_text(1.0, is_yes_or_no=True) == "sì"
        assert value_text(0.0, is_yes_or_no=True) == "no"
        assert value_text(2.0, is_yes_or_no=True) == "2"
        assert value_text("In marcia") == "In marcia"
        assert value_text(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-100, "just now"),
        (9, "just now"),
        (10, "10 s ago"),
        (59, "50 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (172_799, "47 h ago"),
        (172_800, "2 d ago"),
    ],
)
def test_it_writes_ages_in_calm_steps(seconds, text):
    with translation.override("en"):
        assert age_text(NOW - timedelta(seconds=seconds), now=NOW) == text
