"""Compares what was sent with what is stored. Pure: no database, no clock.

What the broker confirmed must be there once and unchanged; what it did not confirm may
be there, once; anything else must not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.messages import Sent, number_of, poison

# What a message that was received became; the API adds what is in flight.
BECAME = ("stored", "duplicate", "quarantined", "dropped")
RECEIPT_TIME = 1  # ReadingFlag: the device said no time


class Row(NamedTuple):
    """A stored reading."""

    site: int
    device: str
    key: str
    value: float | None
    text: str | None
    measured_us: int
    received_us: int
    flags: int


class Current(NamedTuple):
    """A sensor's current value."""

    site: int
    device: str
    key: str
    value: float | None
    text: str | None
    at_us: int | None


class Quarantined(NamedTuple):
    site: int
    payload: bytes
    received_us: int


class Books(NamedTuple):
    """A connection's counters."""

    received: int
    stored: int
    duplicate: int
    quarantined: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Store:
    """All that the database holds at the end."""

    rows: Sequence[Row]
    quarantine: Sequence[Quarantined] = ()
    currents: Sequence[Current] = ()
    books: Mapping[int, Books] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that must not be, and the moments (wall clock) it is about."""

    kind: str  # lost, doubled, changed, invented, accounting, current
    site: int
    words: str
    moments: tuple[float, ...] = ()


def judge(sent: Iterable[Sent], store: Store) -> list[Problem]:
    """Return everything that is wrong; nothing when all is well."""
    by_site: dict[int, dict[int, Sent]] = defaultdict(dict)
    for message in sent:
        by_site[message.site][message.n] = message
    problems: list[Problem] = []
    found: dict[int, set[int]] = {}
    for site, messages in sorted(by_site.items()):
        rows = [row for row in store.rows if row.site == site]
        bad = [row for row in store.quarantine if row.site == site]
        found[site] = set()
        problems += _readings(site, messages, rows, found[site])
        problems += _equal_ones(site, messages, rows)
        problems += _poison(site, messages, bad, found[site])
        problems += _books(site, messages, rows, found[site], store.books.get(site))
    strangers = {row.site for row in store.rows} - by_site.keys()
    problems += [
        Problem("invented", site, "readings of a site that nobody published for")
        for site in sorted(strangers)
    ]
    return problems + _currents(store)


def lost_so_far(sent: Iterable[Sent], store: Store) -> int:
    """Return how many confirmed messages are not there yet."""
    return sum(problem.kind == "lost" for problem in judge(sent, store))


def _readings(
    site: int, messages: Mapping[int, Sent], rows: Sequence[Row], found: set[int]
) -> list[Problem]:
    problems: list[Problem] = []
    seen: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.key == "e":
            continue
        n = number_of(row.key, row.value, row.text)
        message = messages.get(n) if n is not None else None
        if n is None or message is None or row.key not in message.parts:
            words = f"nobody sent {_say(row)}"
            problems.append(Problem("invented", site, words, (row.received_us / 1e6,)))
            continue
        found.add(n)
        seen[n, row.key].append(row)
        problems += _changes(message, row)
    for message in messages.values():
        if message.kind in ("equal", "poison"):
            continue
        for key in message.parts:
            there = seen.get((message.n, key), [])
            if len(there) > 1:
                words = f"{_name(message)} is there {len(there)} times: " + "; ".join(
                    _say(row) for row in there
                )
                moments = tuple(row.received_us / 1e6 for row in there)
                problems.append(Problem("doubled", site, words, moments))
        is_due = message.acked_at is not None or message.n in found
        missing = [key for key in message.parts if (message.n, key) not in seen]
        if is_due and missing:
            words = f"{_name(message)} lacks {', '.join(missing)}"
            problems.append(Problem("lost", site, words, _moments(message)))
    return problems


def _changes(message: Sent, row: Row) -> list[Problem]:
    expected = message.parts[row.key]
    stored = row.text if isinstance(expected, str) else row.value
    other = row.value if isinstance(expected, str) else row.text
    checks = {
        "value": stored == expected and other is None,
        f"datalogger (it was {message.device})": row.device == message.device,
        "flags": row.flags == (RECEIPT_TIME if message.measured_us is None else 0),
        f"time (it was {message.measured_us})": (
            message.measured_us in (None, row.measured_us)
        ),
        # One clock for all; a broker may have kept the message for long.
        "time of receipt": row.received_us >= (message.at - 1) * 1e6,
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    if not wrong:
        return []
    words = f"{_name(message)} has another {', '.join(wrong)}: {_say(row)}"
    return [Problem("changed", message.site, words, _moments(message))]


def _equal_ones(
    site: int, messages: Mapping[int, Sent], rows: Sequence[Row]
) -> list[Problem]:
    """Count what cannot be told apart: between the confirmed ones and all of them."""
    stored = Counter(row.device for row in rows if row.key == "e")
    least: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for message in messages.values():
        if message.kind == "equal":
            most[message.device] += 1
            least[message.device] += message.acked_at is not None
    problems = []
    for device in sorted(most | stored):
        said = f"{stored[device]} equal readings of datalogger {device}, "
        if stored[device] < least[device]:
            words = said + f"{least[device]} were confirmed"
            problems.append(Problem("lost", site, words))
        if stored[device] > most[device]:
            words = said + f"{most[device]} were sent"
            problems.append(Problem("doubled", site, words))
    return problems


def _poison(
    site: int,
    messages: Mapping[int, Sent],
    bad: Sequence[Quarantined],
    found: set[int],
) -> list[Problem]:
    problems = []
    there: dict[bytes, list[Quarantined]] = defaultdict(list)
    for row in bad:
        there[row.payload].append(row)
    for message in messages.values():
        if message.kind != "poison":
            continue
        rows = there.pop(poison(message.n), [])
        if rows:
            found.add(message.n)
        elif message.acked_at is not None:
            words = f"{_name(message)} is not in the quarantine"
            problems.append(Problem("lost", site, words, _moments(message)))
        if len(rows) > 1:
            words = f"{_name(message)} is in the quarantine {len(rows)} times"
            moments = tuple(row.received_us / 1e6 for row in rows)
            problems.append(Problem("doubled", site, words, moments))
    for payload, rows in there.items():
        words = f"in the quarantine and never meant for it: {payload[:80]!r}"
        moments = tuple(row.received_us / 1e6 for row in rows)
        problems.append(Problem("changed", site, words, moments))
    return problems


def _books(
    site: int,
    messages: Mapping[int, Sent],
    rows: Sequence[Row],
    found: set[int],
    books: Books | None,
) -> list[Problem]:
    """Check that the counters balance, and that they say what really is there."""
    if books is None:
        return []
    became = books.stored + books.duplicate + books.quarantined + books.dropped
    problems = []
    if books.received != became:
        words = f"received {books.received} is not the sum of the rest, {became}"
        problems.append(Problem("accounting", site, f"{words}: {books}"))
    bad = {n for n in found if messages[n].kind == "poison"}
    good = len(found - bad) + sum(row.key == "e" for row in rows)
    for name, counted, true in (
        ("stored", books.stored, good),
        ("quarantined", books.quarantined, len(bad)),
        ("dropped", books.dropped, 0),
    ):
        if counted != true:
            words = f"{name} says {counted}, in truth {true}: {books}"
            problems.append(Problem("accounting", site, words))
    return problems


def unbalanced(said: Mapping[int, Mapping[str, int]]) -> list[Problem]:
    """Check what the API says of each site once everything is at rest."""
    problems = []
    for site, counters in said.items():
        became = sum(counters[name] for name in BECAME)
        if counters["received"] != became or counters["unexplained"]:
            words = f"the API's counters do not balance: {dict(counters)}"
            problems.append(Problem("accounting", site, words))
        if counters.get("in_flight") or counters.get("spooled"):
            words = f"messages are still in flight: {dict(counters)}"
            problems.append(Problem("accounting", site, words))
    return problems


def _currents(store: Store) -> list[Problem]:
    """Check that each current value is the newest of its sensor's history."""
    newest: dict[tuple[int, str, str], list[Row]] = {}
    for row in store.rows:
        key = (row.site, row.device, row.key)
        best = newest.get(key)
        if best is None or row.measured_us > best[0].measured_us:
            newest[key] = [row]
        elif row.measured_us == best[0].measured_us:
            best.append(row)
    problems = []
    for current in store.currents:
        history = newest.get((current.site, current.device, current.key))
        if history is None:
            continue
        is_same = any(
            (row.value, row.text, row.measured_us)
            == (current.value, current.text, current.at_us)
            for row in history
        )
        if not is_same:
            words = f"{current} is not the newest of its history, {_say(history[0])}"
            moment = (history[0].received_us / 1e6,)
            problems.append(Problem("current", current.site, words, moment))
    return problems


def _name(message: Sent) -> str:
    return f"message {message.n} ({message.kind}, datalogger {message.device})"


def _moments(message: Sent) -> tuple[float, ...]:
    acked = () if message.acked_at is None else (message.acked_at,)
    return (message.at, *acked)


def _say(row: Row) -> str:
    value = row.text if row.text is not None else row.value
    return (
        f"{row.key}={value} of datalogger {row.device}, measured {row.measured_us}, "
        f"received {row.received_us}"
    )
