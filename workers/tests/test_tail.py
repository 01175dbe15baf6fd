"""The tail: what is shown of a site's messages, and that it stays small."""

from __future__ import annotations

import json

import pytest

from apps.core import events
from apps.core.redis import RedisError, client, tail_key
from apps.sites import tail
from apps.telemetry.facts import Bad, DeviceRef, Entry, Heartbeat, Message, Unclaimed
from workers import tail as tail_module
from workers.tail import SHOWN_A_FLUSH, Tail, head_text, shown

SITE = 900_003
OTHER = 900_004
UNDERSTOOD = Heartbeat(DeviceRef(None, "a", "1"))


def an_entry(fact=UNDERSTOOD, *, site_id=SITE, payload=b"{}", topic=b"s/t", **but):
    fields = {
        "shard": 0,
        "site_id": site_id,
        "connection_id": 1,
        "session": 1,
        "topic": topic,
        "payload": payload,
        "qos": 1,
        "retain": False,
        "dup": False,
        "mid": 1,
        "received_us": 1_763_547_000_123_456,
    }
    return Entry(Message(**(fields | but)), fact)


@pytest.fixture
def sent(monkeypatch):
    """What was emitted, as JSON could say it."""
    found = []

    def emit(channels, event, data):
        found.append((list(channels), event, json.loads(json.dumps(data))))
        return True

    monkeypatch.setattr(tail_module.events, "emit", emit)
    return found


@pytest.fixture
def watched():
    tail.watch(SITE)
    yield
    client().delete(tail_key(SITE), tail_key(OTHER))


def test_it_shows_nothing_while_nobody_watches(sent):
    one = Tail()
    one.flush({SITE})

    one.offer([an_entry()])
    one.flush({SITE})

    assert sent == []


def test_it_shows_a_watched_site_and_no_other(sent, watched):
    one = Tail()
    one.flush({SITE, OTHER})

    one.offer([an_entry(site_id=OTHER), an_entry()])
    one.flush({SITE, OTHER})

    [(channels, event, data)] = sent
    assert channels == [events.messages_channel(SITE)]
    assert event == "messages"
    assert data["skipped"] == 0
    assert data["messages"] == [
        {
            "at": "2025-11-19T10:10:00.123Z",
            "topic": "s/t",
            "payload": "{}",
            "size": 2,
            "qos": 1,
            "retain": False,
            "became": "understood",
            "reason": "",
        }
    ]


def test_it_counts_what_is_too_much(sent, watched):
    one = Tail()
    one.flush({SITE})

    one.offer([an_entry() for _ in range(2_000)])
    one.flush({SITE})

    [(_, _, data)] = sent
    assert len(data["messages"]) == SHOWN_A_FLUSH
    assert data["skipped"] == 2_000 - SHOWN_A_FLUSH


def test_it_stops_when_the_last_watcher_has_gone(sent, watched):
    now = [0.0]
    one = Tail(clock=lambda: now[0])
    one.flush({SITE})
    client().delete(tail_key(SITE))

    one.offer([an_entry()])
    now[0] = 1.0
    one.flush({SITE})  # the last one, and a look
    one.offer([an_entry()])
    one.flush({SITE})

    assert len(sent) == 1


def test_it_looks_once_a_second_however_often_it_is_flushed(monkeypatch):
    looks = []

    def look(ids: object) -> frozenset[int]:
        looks.append(ids)
        return frozenset()

    monkeypatch.setattr(tail_module.tail, "watched", look)
    now = [0.0]
    one = Tail(clock=lambda: now[0])

    for now[0] in (0.0, 0.5, 1.0, 1.5, 2.0):
        one.flush({SITE})

    assert len(looks) == 3


def test_it_shows_nothing_without_redis(monkeypatch, sent):
    def away(_):
        raise RedisError

    now = [0.0]
    one = Tail(clock=lambda: now[0])
    one._watched = frozenset({SITE})
    monkeypatch.setattr(tail_module.tail, "watched", away)

    one.flush({SITE})
    one.offer([an_entry()])
    one.flush({SITE})

    assert sent == []


@pytest.mark.parametrize(
    ("fact", "became", "reason"),
    [
        (UNDERSTOOD, "understood", ""),
        (Unclaimed(), "unclaimed", ""),
        (Bad("json_invalid", "no JSON"), "quarantined", "json_invalid"),
    ],
)
def test_it_says_what_became_of_a_message(fact, became, reason):
    found = shown(an_entry(fact))

    assert (found["became"], found["reason"]) == (became, reason)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", ""),
        (b"\x00\xff", "\x00\\xff"),
        ("è".encode() * 300, "è" * 255),
        (b"a" + "è".encode() * 300, "a" + "è" * 255),
        ("€".encode() * 200, "€" * 170),
        (b"x" * 600, "x" * 512),
    ],
)
def test_it_shows_any_bytes_as_text(payload, text):
    assert head_text(payload) == text


def test_it_bounds_a_topic_of_64_kib():
    found = shown(an_entry(topic=b"\xff" * 65_535))

    assert len(str(found["topic"])) == 500
