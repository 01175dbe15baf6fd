"""When the database counts as away, when it is tried again, when it is back."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import OperationalError

from workers.reach import MOST_WAIT_S, PATIENCE_S, Prober, Reach
from workers.tests.fakes import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prober() -> Prober:
    return Prober(lambda: None)


@pytest.fixture
def reach(prober: Prober, clock: Clock) -> Reach:
    return Reach(prober, clock)


def test_a_short_failure_is_no_outage(reach, clock):
    reach.failed(clock.now, "x")
    clock.now += PATIENCE_S - 0.1
    reach.failed(clock.now, "x")

    assert not reach.is_away
    assert reach.may_try


def test_seconds_of_failures_are_an_outage_and_then_nothing_is_tried(reach, clock):
    reach.failed(clock.now, "x")
    clock.now += PATIENCE_S
    reach.failed(clock.now, "x")

    assert reach.is_away
    assert not reach.may_try


def test_one_try_that_took_too_long_is_an_outage_at_once(reach, clock):
    began = clock.now
    clock.now += 6

    reach.failed(began, "frozen")

    assert reach.is_away


def test_a_success_in_between_begins_the_count_anew(reach, clock):
    reach.failed(clock.now, "x")
    clock.now += 2
    reach.worked()
    clock.now += 2
    reach.failed(clock.now, "x")

    assert not reach.is_away


def test_who_is_told_to_end_has_no_patience(reach, clock):
    reach.hurry()

    reach.failed(clock.now, "x")

    assert reach.is_away


def test_it_is_tried_as_soon_as_it_answers_and_is_back_when_it_stores(
    reach, prober, clock
):
    reach.failed(clock.now - PATIENCE_S, "x")

    prober.answers = True

    assert reach.may_try
    assert reach.is_away
    reach.worked()
    assert not reach.is_away


def test_a_database_that_answers_and_refuses_is_tried_less_and_less(
    reach, prober, clock
):
    """A full disk: every try costs messages their time."""
    reach.failed(clock.now - PATIENCE_S, "x")
    waits = []
    for _ in range(10):
        prober.answers = True
        began = clock.now
        while not reach.may_try:
            clock.now += 0.1
        waits.append(clock.now - began)
        reach.failed(clock.now, "disk full")

    assert waits[0] < 0.2
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(MOST_WAIT_S, abs=0.2)


def test_the_prober_asks_only_while_it_is_wanted(monkeypatch):
    monkeypatch.setattr("workers.reach.ASK_EVERY_S", 0.02)
    asked: list[bool] = []
    fails = [OperationalError(), OperationalError()]

    def probe() -> None:
        asked.append(prober.answers)
        if fails:
            raise fails.pop()

    prober = Prober(probe)
    thread = threading.Thread(target=prober.run)
    thread.start()
    time.sleep(0.2)
    assert asked == []

    prober.ask()
    end = time.monotonic() + 10
    while not prober.answers and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)

    assert asked == [False] * 3
    prober.stop()
    thread.join(10)
    assert not thread.is_alive()
