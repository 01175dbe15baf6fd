"""An answer belongs to the oldest command that waited for it when it came."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from apps.sites import publishing
from apps.sites.models import Command
from apps.sites.publishing import Waiting, match, note_replies, reply_text
from apps.sites.tests.commanding import NOON, OUTPUT, a_command, awaiting


def at(seconds: float):
    return NOON + timedelta(seconds=seconds)


def answer(site, payload: bytes, seconds: float, topic: str = ""):
    return (site.pk, topic or OUTPUT.format(site.code), payload, at(seconds))


def test_the_oldest_waiting_command_is_answered(north):
    later = awaiting(north, sent_at=at(1))
    oldest = awaiting(north)

    assert note_replies([answer(north, b"done", 2)]) == [(north.pk, oldest.pk)]

    oldest.refresh_from_db()
    later.refresh_from_db()
    assert (oldest.state, oldest.reply, oldest.replied_at) == (
        "answered",
        "done",
        at(2),
    )
    assert later.state == "delivered"


def test_two_answers_of_one_batch_answer_two_commands_in_their_order(north):
    rows = [awaiting(north, sent_at=at(n)) for n in range(3)]

    said = [answer(north, b"first", 4), answer(north, b"second", 5)]
    note_replies(said)

    replies = [Command.objects.get(pk=row.pk).reply for row in rows]
    assert replies == ["first", "second", None]


def test_an_output_from_before_the_command_does_not_take_the_answers_place(north):
    row = awaiting(north)

    note_replies([answer(north, b"stale", -1), answer(north, b"mine", 1)])

    row.refresh_from_db()
    assert row.reply == "mine"


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "queued"},
        {"state": "answered", "replied_at": NOON},
        {"state": "failed"},
        {"state": "no_puback"},
        {"state": "expired"},
        {"reply_until": at(1)},
        {"sent_at": at(3), "reply_until": at(9)},
        {"reply_until": None},
        {"reply_topic": "elsewhere/output"},
    ],
)
def test_a_command_that_does_not_wait_is_not_answered(north, fields):
    awaiting(north, **fields)

    assert note_replies([answer(north, b"late", 2)]) == []


@pytest.mark.parametrize("state", ["sent", "delivered", "no_reply"])
def test_an_answer_that_came_in_time_counts_whenever_it_is_stored(north, state):
    row = awaiting(north, state=state)

    assert note_replies([answer(north, b"ok", 59)]) == [(north.pk, row.pk)]


def test_the_same_topic_of_another_site_answers_nothing(north, hidden):
    awaiting(north)

    said = (hidden.pk, OUTPUT.format(north.code), b"x", at(1))

    assert note_replies([said]) == []


def test_it_asks_once_when_nobody_waits(north, django_assert_num_queries):
    a_command(north)

    with django_assert_num_queries(1):
        note_replies([answer(north, b"x", n) for n in range(500)])
    with django_assert_num_queries(0):
        note_replies([])


def test_the_question_is_answered_by_the_index_of_what_waits(north):
    for n in range(50):
        awaiting(north, state="answered", replied_at=at(n), sent_at=at(n))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; ANALYZE sites_command")
    rows = Command.objects.filter(
        site_id__in=[north.pk],
        reply_until__gte=NOON,
        replied_at=None,
        reply_topic__in=["x"],
        state__in=publishing.AWAITING,
    ).order_by("sent_at", "pk")

    assert "command_awaits_reply" in rows.explain()


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", ""),
        (b"a\0b", "a\\x00b"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("è".encode() * 3_000, "è" * 2_048),
        (b"x" + "è".encode() * 3_000, "x" + "è" * 2_047),
        (b"\0" * 5_000, "\\x00" * 1_024),
    ],
)
def test_any_payload_becomes_text_of_at_most_4_kib(north, payload, text):
    row = awaiting(north)

    note_replies([answer(north, payload, 1)])

    row.refresh_from_db()
    assert row.reply == text


@given(st.binary(max_size=6_000))
def test_no_payload_is_too_odd_for_the_database(payload):
    text = reply_text(payload)

    assert len(text.encode()) <= 4_096
    assert "\0" not in text


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
    st.lists(st.integers(0, 12), max_size=8),
)
def test_nobody_is_answered_twice_or_outside_of_its_time(spans, times):
    waiting = [
        Waiting(n, 1, "t", at(since), at(since + length))
        for n, (since, length) in enumerate(sorted(spans))
    ]
    outputs = [(1, "t", str(n).encode(), at(when)) for n, when in enumerate(times)]

    pairs = list(match(outputs, waiting))

    ids = [one.command_id for one, _, _ in pairs]
    assert len(ids) == len(set(ids))
    payloads = [payload for _, payload, _ in pairs]
    assert len(payloads) == len(set(payloads))
    assert all(one.since <= when <= one.until for one, _, when in pairs)
