"""The topic grammar: whose message it is, segment by segment."""

from __future__ import annotations

import pytest

from apps.telemetry.facts import DeviceRef
from apps.telemetry.protocols import topics
from apps.telemetry.protocols.topics import (
    MAX_LEVEL_CHARS,
    InvalidTopicError,
    Route,
    parse,
)

MONSTRO = DeviceRef(gateway=None, type="monstro", number="15")
BEHIND = DeviceRef(gateway="gw7", type="monstro", number="15")
GATEWAY = DeviceRef(gateway="gw7", type=None, number="gw7")


@pytest.mark.parametrize(
    ("topic", "route"),
    [
        ("s/gateway/gw7/heartbeat", Route("heartbeat", GATEWAY)),
        ("s/gateway/gw7/status", Route("status", GATEWAY)),
        ("s/datalogger/monstro/15/heartbeat", Route("heartbeat", MONSTRO)),
        ("s/datalogger/monstro/15/data", Route("data", MONSTRO)),
        ("s/datalogger/monstro/15/status", Route("status", MONSTRO)),
        ("s/gateway/gw7/datalogger/monstro/15/heartbeat", Route("heartbeat", BEHIND)),
        ("s/gateway/gw7/datalogger/monstro/15/data", Route("data", BEHIND)),
        ("s/gateway/gw7/datalogger/monstro/15/status", Route("status", BEHIND)),
        ("s/gateway/gw7/datalogger/monstro/15/output", Route("output", BEHIND)),
    ],
)
def test_every_topic_of_the_contract_has_its_meaning(topic, route):
    assert parse("s", topic.encode()) == route


@pytest.mark.parametrize(
    "topic",
    [
        "s/gateway/gw7/data",
        "s/gateway/gw7/output",
        "s/gateway/gw7",
        "s/gateway//heartbeat",
        "s/datalogger/monstro/15",
        "s/datalogger/monstro/data",
        "s/datalogger//15/data",
        "s/datalogger/monstro//data",
        "s/datalogger/monstro/15/data/",
        "s/datalogger/monstro/15/data/more",
        "s/datalogger/monstro/15/DATA",
        "s/gateway/gw7/datalogger/monstro/15/input",
        "s/gateway/a/gateway/b/datalogger/monstro/15/data",
        "s/gateway/gw7/logger/monstro/15/data",
        f"s/datalogger/{'m' * (MAX_LEVEL_CHARS + 1)}/15/data",
        f"s/datalogger/monstro/{'1' * (MAX_LEVEL_CHARS + 1)}/data",
        "s",
        "s/",
        "S/datalogger/monstro/15/data",
        "s1/datalogger/monstro/15/data",
        "/s/datalogger/monstro/15/data",
    ],
)
def test_nobody_claims_any_other_topic(topic):
    assert parse("s", topic.encode()) is None


@pytest.mark.parametrize("number", ["15", "+", "#", "è", "a b", "1" * MAX_LEVEL_CHARS])
def test_a_level_may_hold_any_letters(number):
    route = parse("s", f"s/datalogger/monstro/{number}/data".encode())

    assert route == Route("data", MONSTRO._replace(number=number))


def test_a_code_with_letters_of_a_pattern_means_itself():
    assert parse("a.b", b"axb/gateway/g/status") is None
    assert parse("a.b", b"a.b/gateway/g/status") is not None


@pytest.mark.parametrize("topic", [b"s/\xff", b"s/\xc3", b"s/\xed\xa0\x80", b"s/a\0b"])
def test_what_is_no_text_is_an_error(topic):
    with pytest.raises(InvalidTopicError):
        parse("s", topic)


def test_long_topics_are_not_remembered():
    """20,000 topics of 64 KiB would be more than a gigabyte."""
    before = topics._route_of.cache_info().currsize

    for n in range(100):
        assert parse("s", f"s/{n:05}/".encode() + b"x" * 60_000) is None

    assert topics._route_of.cache_info().currsize == before
