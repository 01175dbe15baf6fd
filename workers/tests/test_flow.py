from __future__ import annotations

from workers.flow import MINUTES, Flow


def test_it_counts_whole_minutes_alone():
    flow = Flow()
    flow.know(1, 100)
    flow.add(1, 5, 100)  # a part of a minute: somebody else may have had the rest
    flow.add(1, 7, 101)
    flow.add(1, 2, 101)
    flow.add(1, 4, 103)
    flow.add(1, 9, 104)  # not over yet

    assert flow.series(1, 104) == (9, 0, 4)


def test_it_keeps_the_last_half_hour():
    flow = Flow()
    flow.know(1, 0)
    for minute in range(100):
        flow.add(1, minute, minute)

    assert flow.series(1, 100) == tuple(range(100 - MINUTES, 100))


def test_it_shows_silence_as_zeros_and_strangers_as_nothing():
    flow = Flow()
    flow.know(1, 10)

    assert flow.series(1, 13) == (0, 0)
    assert flow.series(2, 13) == ()


def test_it_starts_anew_after_it_was_forgotten():
    flow = Flow()
    flow.know(1, 10)
    flow.add(1, 3, 11)
    flow.forget(1)

    flow.know(1, 20)

    assert flow.series(1, 22) == (0,)
