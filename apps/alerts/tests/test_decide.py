"""When trouble becomes an alert and when it is over: every step of the decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.alerts.decide import Known, Rules, Seen, State, Step, decide

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RULES = Rules(after=timedelta(seconds=120), clear=timedelta(seconds=60))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def seen(state: State, since_s: float = 0, changes: int = 0) -> Seen:
    return Seen(state, ago(since_s), changes)


WATCHED = Known(ago(60), is_confirmed=False, good_since=None)
WATCHED_LONG = Known(ago(121), is_confirmed=False, good_since=None)
OPEN = Known(ago(500), is_confirmed=True, good_since=None)


def well_for(seconds: float) -> Known:
    return Known(ago(500), is_confirmed=True, good_since=ago(seconds))


@pytest.mark.parametrize(
    ("now_seen", "known", "step"),
    [
        # Trouble has to last.
        (seen(State.BAD, 10), None, Step.WATCH),
        (seen(State.BAD, 119.9), None, Step.WATCH),
        (seen(State.BAD, 120), None, Step.OPEN),
        (seen(State.BAD, 10), WATCHED, Step.NOTHING),
        # It began when it was first seen, whatever its reason became since.
        (seen(State.BAD, 1), WATCHED_LONG, Step.OPEN),
        (seen(State.BAD, 500), OPEN, Step.NOTHING),
        # What passes in time is never told.
        (seen(State.GOOD, 5), WATCHED, Step.FORGET),
        (seen(State.GOOD, 5), None, Step.NOTHING),
        # Peace has to last as well.
        (seen(State.GOOD, 10), OPEN, Step.RECOVER),
        (seen(State.GOOD, 70), OPEN, Step.CLOSE),
        (seen(State.GOOD, 59), well_for(59), Step.NOTHING),
        (seen(State.GOOD, 60), well_for(60), Step.CLOSE),
        (seen(State.BAD, 1), well_for(30), Step.RELAPSE),
        # Unknown changes nothing, and no tolerance runs meanwhile.
        (seen(State.UNKNOWN, 900), None, Step.NOTHING),
        (seen(State.UNKNOWN, 900), OPEN, Step.NOTHING),
        (seen(State.UNKNOWN, 900), WATCHED_LONG, Step.FORGET),
        # Stopped or deleted: not a word.
        (seen(State.NOBODYS), None, Step.NOTHING),
        (seen(State.NOBODYS), WATCHED, Step.FORGET),
        (seen(State.NOBODYS), OPEN, Step.END),
        (None, WATCHED, Step.FORGET),
        (None, OPEN, Step.END),
        (None, None, Step.NOTHING),
        # More than five changes in ten minutes: one alert, kept open.
        (seen(State.BAD, 1, 5), None, Step.WATCH),
        (seen(State.BAD, 1, 6), None, Step.OPEN),
        (seen(State.BAD, 1, 6), WATCHED, Step.OPEN),
        (seen(State.GOOD, 1, 6), None, Step.OPEN),
        (seen(State.GOOD, 1, 6), WATCHED, Step.OPEN),
        (seen(State.GOOD, 100, 6), OPEN, Step.RECOVER),
        (seen(State.GOOD, 100, 6), well_for(100), Step.NOTHING),
        (seen(State.GOOD, 100, 5), well_for(100), Step.CLOSE),
    ],
)
def test_it_decides(now_seen, known, step):
    assert decide(now_seen, known, now=NOW, rules=RULES) is step
