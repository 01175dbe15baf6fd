"""The judge of the chaos runs itself: it must see what it is there for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.faults import KINDS, plan
from tests.chaos.judge import (
    BECAME,
    Books,
    Current,
    Problem,
    Quarantined,
    Row,
    Store,
    judge,
    unbalanced,
)
from tests.chaos.messages import EQUAL_VALUE, Script, Sent, poison

NOW = 1_760_000_000.0
LATER_US = int((NOW + 1) * 1e6)


def sent(n: int, kind: str = "bare", *, is_confirmed: bool = True) -> Sent:
    measured_us = int(NOW * 1e6) + n * 1_000 if kind == "timed" else None
    acked_at = NOW + 0.1 if is_confirmed else None
    return Sent(1, n, kind, "0", measured_us, NOW, acked_at)


def rows_of(message: Sent, *, received_us: int = 0) -> list[Row]:
    received_us = received_us or LATER_US + message.n
    rows = []
    for key, value in message.parts.items():
        is_text = isinstance(value, str)
        rows.append(
            Row(
                message.site,
                message.device,
                key,
                None if isinstance(value, str) else value,
                value if isinstance(value, str) else None,
                message.measured_us or received_us,
                received_us,
                0 if message.measured_us else 1,
            )
        )
        assert is_text == (rows[-1].value is None)
    return rows


def kinds(problems: list[Problem]) -> list[str]:
    return [problem.kind for problem in problems]


ALL = [sent(n, kind) for n, kind in enumerate(["timed", "bare", "pair", "text"], 1)]
ROWS = [row for message in ALL for row in rows_of(message)]


def test_what_is_there_once_and_unchanged_is_clean() -> None:
    messages = [*ALL, sent(5, "equal"), sent(6, "poison")]
    store = Store(
        rows=[*ROWS, *rows_of(messages[4])],
        quarantine=[Quarantined(1, poison(6), LATER_US)],
        books={1: Books(8, 5, 2, 1, 0)},
    )

    assert judge(messages, store) == []


def test_a_confirmed_message_that_is_missing_is_lost() -> None:
    problems = judge(ALL, Store(rows=rows_of(ALL[0])))

    assert kinds(problems) == ["lost", "lost", "lost"]
    assert problems[0].moments == (NOW, NOW + 0.1)


def test_an_unconfirmed_message_may_be_missing_or_there_once() -> None:
    message = sent(1, is_confirmed=False)

    assert judge([message], Store(rows=[])) == []
    assert judge([message], Store(rows=rows_of(message))) == []
    twice = [*rows_of(message), *rows_of(message, received_us=LATER_US + 99)]
    assert kinds(judge([message], Store(rows=twice))) == ["doubled"]


def test_half_a_message_is_lost_though_nobody_confirmed_it() -> None:
    message = sent(1, "pair", is_confirmed=False)

    assert kinds(judge([message], Store(rows=rows_of(message)[:1]))) == ["lost"]


@pytest.mark.parametrize("message", ALL, ids=lambda message: message.kind)
def test_a_second_copy_is_seen(message: Sent) -> None:
    again = rows_of(message, received_us=LATER_US + 5_000_000)

    problems = judge(ALL, Store(rows=[*ROWS, *again]))

    assert set(kinds(problems)) == {"doubled"}
    assert len(problems[0].moments) == 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"device": "1"}, "datalogger"),
        ({"measured_us": 5}, "time"),
        ({"flags": 1}, "flags"),
        ({"text": "more"}, "value"),
    ],
)
def test_a_changed_reading_is_seen(change: dict[str, object], what: str) -> None:
    message = sent(1, "timed")
    row = rows_of(message)[0]._replace(**change)  # type: ignore[arg-type]

    problems = judge([message], Store(rows=[row]))

    assert kinds(problems) == ["changed"]
    assert what in problems[0].words


def test_the_second_value_of_a_pair_is_checked_as_well() -> None:
    message = sent(1, "pair")
    first, second = rows_of(message)
    swapped = [first, second._replace(value=2.5)]

    assert kinds(judge([message], Store(rows=swapped))) == ["invented", "lost"]


def test_what_nobody_sent_is_seen() -> None:
    (row,) = rows_of(sent(1))
    strange = [
        row._replace(value=77.0),
        row._replace(value=1.25),
        row._replace(key="x"),
        row._replace(key="s", value=None, text="word-x"),
    ]

    problems = judge([sent(1)], Store(rows=[row, *strange]))

    assert kinds(problems) == ["invented"] * 4
    assert kinds(judge([], Store(rows=[row]))) == ["invented"]


def test_a_reading_under_another_site_is_seen() -> None:
    message = sent(1)
    moved = [row._replace(site=2) for row in rows_of(message)]

    assert kinds(judge([message], Store(rows=moved))) == ["lost", "invented"]


def test_a_reading_that_is_older_than_its_message_is_seen() -> None:
    message = sent(1)
    early = rows_of(message, received_us=int((NOW - 60) * 1e6))

    assert kinds(judge([message], Store(rows=early))) == ["changed"]


def test_equal_readings_are_counted() -> None:
    messages = [sent(n, "equal") for n in (1, 2)] + [
        sent(3, "equal", is_confirmed=False)
    ]
    stored = [row for message in messages for row in rows_of(message)]
    assert stored[0].value == EQUAL_VALUE

    assert judge(messages, Store(rows=stored)) == []
    assert judge(messages, Store(rows=stored[:2])) == []
    assert kinds(judge(messages, Store(rows=stored[:1]))) == ["lost"]
    assert kinds(judge(messages, Store(rows=[*stored, stored[0]]))) == ["doubled"]


def test_poison_belongs_into_the_quarantine_once() -> None:
    messages = [sent(1, "poison")]
    row = Quarantined(1, poison(1), LATER_US)

    assert judge(messages, Store(rows=[], quarantine=[row])) == []
    assert kinds(judge(messages, Store(rows=[]))) == ["lost"]
    assert kinds(judge(messages, Store(rows=[], quarantine=[row, row]))) == ["doubled"]
    other = replace(messages[0], n=2, acked_at=None)
    stray = Quarantined(1, b"good json", LATER_US)
    problems = judge([*messages, other], Store(rows=[], quarantine=[row, stray]))
    assert kinds(problems) == ["changed"]


@pytest.mark.parametrize(
    "books",
    [
        Books(5, 4, 0, 0, 0),  # does not balance
        Books(5, 5, 0, 0, 0),  # balances, and says one too many
        Books(3, 3, 0, 0, 0),
        Books(5, 4, 0, 1, 0),
        Books(5, 4, 0, 0, 1),
    ],
)
def test_books_that_are_not_true_are_seen(books: Books) -> None:
    problems = judge(ALL, Store(rows=ROWS, books={1: books}))

    assert set(kinds(problems)) == {"accounting"}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 0),
        ({"received": 11}, 1),
        ({"unexplained": 1}, 1),
        ({"in_flight": 1, "received": 11}, 2),
        ({"spooled": 1, "in_flight": 1, "received": 11}, 2),
    ],
)
def test_the_counters_of_the_api_must_balance(change, count) -> None:
    at_rest = dict(zip(BECAME, (5, 3, 1, 1), strict=True))
    said = at_rest | {"received": 10, "in_flight": 0, "spooled": 0, "unexplained": 0}

    assert kinds(unbalanced({1: said | change})) == ["accounting"] * count


def test_a_current_value_that_went_back_is_seen() -> None:
    old, new = sent(1), sent(2)
    rows = [*rows_of(old), *rows_of(new)]
    good = Current(1, "0", "u", 2.0, None, rows[1].measured_us)
    bad = Current(1, "0", "u", 1.0, None, rows[0].measured_us)

    assert judge([old, new], Store(rows=rows, currents=[good])) == []
    problems = judge([old, new], Store(rows=rows, currents=[bad]))
    assert kinds(problems) == ["current"]


def test_the_same_seed_makes_the_same_run() -> None:
    def script() -> list[tuple[str, bytes]]:
        made = Script(5, 1)
        return [((m := made.next(NOW)).device, m.payload) for _ in range(200)]

    def faults(seed: int) -> list[object]:
        return list(plan(seed, 300, KINDS, site_count=4, broker_persists=True))

    assert script() == script()
    assert faults(5) == faults(5)
    assert faults(5) != faults(6)


def test_a_plan_keeps_to_its_kinds_and_its_time() -> None:
    faults = plan(1, 600, ["kill"], site_count=4, broker_persists=False)

    assert {fault.action for fault in faults} == {"kill"}
    assert all(0 < fault.at_s < 600 for fault in faults)
    assert all(fault.target != "broker" for fault in faults)
    every = plan(1, 600, KINDS, site_count=4, broker_persists=False)
    assert {f.action for f in every if f.target == "broker"} <= {"freeze"}
    assert plan(1, 600, [], site_count=4, broker_persists=True) == []


def test_no_target_has_two_faults_at_once() -> None:
    busy: dict[str, float] = {}
    for fault in plan(3, 900, KINDS, site_count=4, broker_persists=True):
        assert busy.get(fault.target, 0.0) <= fault.at_s
        busy[fault.target] = fault.at_s + fault.for_s
