"""Paths into a payload: what is one, where it leads, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.protocols.paths import (
    MAX_DEPTH,
    MAX_PATH_CHARS,
    MISSING,
    PathError,
    look,
    parse,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def written(steps: list[str | int], quote: str) -> str:
    def one(step: str | int) -> str:
        if isinstance(step, int):
            return f"[{step}]"
        escaped = step.replace("\\", "\\\\").replace(quote, f"\\{quote}")
        return f"[{quote}{escaped}{quote}]"

    return "$" + "".join(one(step) for step in steps)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$", ()),
        ("$.a", ("a",)),
        ("$.a.b[0]['x y'].c", ("a", "b", 0, "x y", "c")),
        ('$["a"]["it\'s"]', ("a", "it's")),
        (r"$['it\'s']['\\']", ("it's", "\\")),
        ("$['']", ("",)),
        ("$[0][99999]", (0, 99999)),
        ("$.0.t-ext.é.$", ("0", "t-ext", "é", "$")),
        ("$['a.b[0]']", ("a.b[0]",)),
    ],
)
def test_a_path_is_its_steps(text, steps):
    assert parse(text) == steps


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 0),
        ("a.b", 0),
        ("$a", 1),
        ("$.", 1),
        ("$..a", 1),
        ("$.a.", 3),
        ("$.*", None),
        ("$[*]", 1),
        ("$[-1]", 1),
        ("$[1:2]", 1),
        ("$[?(@.a)]", 1),
        ("$[100000]", 1),
        ("$['a", 1),
        ("$['a\\n']", 1),
        ("$.a b", 3),
        ("$.a\0", 0),
        (" $", 0),
    ],
)
def test_what_is_no_path_says_from_where(text, place):
    if place is None:  # a star is a name like any other, no wildcard
        assert parse(text) == ("*",)
        return

    with pytest.raises(PathError) as refused:
        parse(text)

    assert refused.value.place == place


def test_a_path_is_bounded():
    parse("$" + ".a" * MAX_DEPTH)

    with pytest.raises(PathError):
        parse("$" + ".a" * (MAX_DEPTH + 1))
    with pytest.raises(PathError):
        parse("$." + "a" * MAX_PATH_CHARS)


@given(
    st.lists(st.text().filter(lambda t: "\0" not in t) | st.integers(0, 99_999)),
    st.sampled_from("'\""),
)
def test_quoting_says_any_name(steps, quote):
    text = written(steps, quote)

    if len(text) <= MAX_PATH_CHARS and len(steps) <= MAX_DEPTH:
        assert parse(text) == tuple(steps)


@given(st.text())
def test_any_text_is_a_path_or_an_error(text):
    refused_at = 0
    try:
        parse(f"${text}")
    except PathError as error:
        refused_at = error.place

    assert 0 <= refused_at <= len(text)


@given(JSON, st.lists(st.text(max_size=2) | st.integers(0, 3), max_size=4))
def test_looking_anywhere_in_anything_never_raises(body, steps):
    found = look(body, tuple(steps))

    assert found is MISSING or not steps or isinstance(body, (dict, list))


def test_looking_finds_null_and_tells_it_from_nothing():
    body = {"a": None, "b": [1, {"c": 2}]}

    assert look(body, parse("$.a")) is None
    assert look(body, parse("$.b[1].c")) == 2
    assert look(body, parse("$.b[2]")) is MISSING
    assert look(body, parse("$.b.c")) is MISSING
    assert look(body, parse("$[0]")) is MISSING
    assert look({"0": 1}, parse("$[0]")) is MISSING
    assert look(7, parse("$")) == 7
