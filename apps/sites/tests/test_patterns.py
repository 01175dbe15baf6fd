"""Topic filters: which are valid, and which topics they match."""

from __future__ import annotations

import pytest

from apps.sites.patterns import covers, problem_with_filter


@pytest.mark.parametrize(
    ("pattern", "topic", "is_covered"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("+/b", "a/b", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("a/b/#", "a", False),
        ("a/+/#", "a", False),
        ("a/+/#", "a/b", True),
        ("a/+/#", "a/b/c/d", True),
        ("#", "a", True),
        ("#", "/", True),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/+", "$SYS/broker", True),
        ("a/#", "a/$SYS", True),
        ("$share/group/a/+", "a/b", True),
        ("$share/group/#", "$SYS/broker", False),
        ("site_001/#", "site_0010/x", False),
        ("A/b", "a/b", False),
        ("a//b", "a//b", True),
        ("a/+/b", "a//b", True),
    ],
)
def test_a_filter_covers_what_a_broker_would_send(
    pattern: str, topic: str, is_covered: bool
) -> None:
    assert covers(pattern, topic) is is_covered


@pytest.mark.parametrize(
    "name", ["#", "+", "a/#", "+/b/+", "/", "a//b", "$SYS/#", "è/日", "x" * 1_024]
)
def test_it_takes_every_filter_of_mqtt(name: str) -> None:
    assert problem_with_filter(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/#/b",
        "a#",
        "a/b+",
        "##",
        "nul\0",
        "x\x1f",
        "\x85",
        "\ud800",
        "x" * 1_025,
        "$share/g/#",
    ],
)
def test_it_refuses_what_is_no_filter(name: str) -> None:
    assert problem_with_filter(name) is not None
