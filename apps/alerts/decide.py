"""When a trouble becomes an alert, and when it is over. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

# More changes than this within that time is flapping: one alert, kept open.
FLAPPING_CHANGES = 5
FLAPPING_WITHIN = timedelta(minutes=10)


class State(Enum):
    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"  # nothing can be said: leave everything as it is
    NOBODYS = "nobodys"  # stopped, deleted, or somebody else's trouble


@dataclass(frozen=True, slots=True)
class Seen:
    """A thing as it is now: its state, since when, changes in the last ten minutes."""

    state: State
    since: datetime
    changes: int = 0

    @property
    def is_flapping(self) -> bool:
        return self.changes > FLAPPING_CHANGES


@dataclass(frozen=True, slots=True)
class Known:
    """The open row about that thing."""

    opened_at: datetime
    is_confirmed: bool
    good_since: datetime | None


@dataclass(frozen=True, slots=True)
class Rules:
    after: timedelta  # trouble that lasts as long is an alert
    clear: timedelta  # peace that lasts as long ends it


class Step(Enum):
    NOTHING = "nothing"
    WATCH = "watch"  # note when the trouble began
    OPEN = "open"  # tell people
    RECOVER = "recover"  # well again: note since when
    RELAPSE = "relapse"  # not well after all
    CLOSE = "close"  # tell people that it is over
    FORGET = "forget"  # nobody was told, and nobody will be
    END = "end"  # close without a word


def decide(
    seen: Seen | None, known: Known | None, *, now: datetime, rules: Rules
) -> Step:
    """Return the one step for a thing; `seen` None means that it is gone."""
    if seen is None or seen.state is State.NOBODYS:
        return _without_a_word(known)
    if seen.state is State.UNKNOWN:
        # Time of which nothing is known must not count towards the tolerance.
        return Step.FORGET if known and not known.is_confirmed else Step.NOTHING
    if seen.state is State.BAD:
        return _in_trouble(seen, known, now=now, rules=rules)
    return _well(seen, known, now=now, rules=rules)


def _without_a_word(known: Known | None) -> Step:
    if known is None:
        return Step.NOTHING
    return Step.END if known.is_confirmed else Step.FORGET


def _in_trouble(
    seen: Seen, known: Known | None, *, now: datetime, rules: Rules
) -> Step:
    began = seen.since if known is None else known.opened_at
    lasts = now - began >= rules.after
    if known is None:
        return Step.OPEN if lasts or seen.is_flapping else Step.WATCH
    if not known.is_confirmed:
        return Step.OPEN if lasts or seen.is_flapping else Step.NOTHING
    return Step.RELAPSE if known.good_since else Step.NOTHING


def _well(seen: Seen, known: Known | None, *, now: datetime, rules: Rules) -> Step:
    if known is None:
        return Step.OPEN if seen.is_flapping else Step.NOTHING
    if not known.is_confirmed:
        return Step.OPEN if seen.is_flapping else Step.FORGET
    if known.good_since is None:
        # What is well for long enough already need not wait for another look.
        over = now - seen.since >= rules.clear and not seen.is_flapping
        return Step.CLOSE if over else Step.RECOVER
    if seen.is_flapping or now - known.good_since < rules.clear:
        return Step.NOTHING
    return Step.CLOSE
