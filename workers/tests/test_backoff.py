"""When to try again, and how a fight over our client id shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.backoff import COOLDOWNS_S, FightDetector, delay_s


@pytest.mark.parametrize(
    ("failures", "expected"),
    [(0, 5), (1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (7, 300), (10**9, 300)],
)
def test_delays_double_up_to_five_minutes(failures, expected):
    assert delay_s(failures, spread=0) == expected


@given(failures=st.integers(min_value=0), spread=st.floats(min_value=-1, max_value=1))
def test_a_delay_is_never_more_than_a_quarter_off(failures, spread):
    middle = delay_s(failures, spread=0)

    assert 0.75 * middle <= delay_s(failures, spread=spread) <= 1.25 * middle


def drop(detector: FightDetector, **but: object) -> bool:
    said: dict = {"age_s": 1.0, "was_taken_over": False, "broker_is_up": True}
    return detector.dropped(**(said | but))


def test_the_third_quick_drop_is_a_fight():
    detector = FightDetector()

    assert [drop(detector) for _ in range(3)] == [False, False, True]


def test_a_drop_of_an_old_link_starts_the_count_anew():
    detector = FightDetector()

    assert not drop(detector)
    assert not drop(detector)
    assert not drop(detector, age_s=15.0)
    assert not drop(detector)
    assert not drop(detector)
    assert drop(detector)


def test_a_broker_that_is_down_fights_with_nobody():
    detector = FightDetector()

    assert not any(drop(detector, broker_is_up=False) for _ in range(10))


def test_what_the_broker_says_counts_at_any_age():
    detector = FightDetector()

    said = [
        drop(detector, age_s=3600, was_taken_over=True, broker_is_up=False)
        for _ in range(3)
    ]

    assert said == [False, False, True]


def test_after_a_cooldown_one_more_quick_drop_is_enough():
    detector = FightDetector()
    for _ in range(3):
        drop(detector)
    detector.next_cooldown_s()

    assert drop(detector)


def test_cooldowns_grow_and_a_calm_link_forgets_them():
    detector = FightDetector()

    served = [detector.next_cooldown_s() for _ in range(5)]
    detector.calm()

    assert served == [60, 120, 300, 300, 300]
    assert detector.next_cooldown_s() == COOLDOWNS_S[0]
    assert not drop(FightDetector())
