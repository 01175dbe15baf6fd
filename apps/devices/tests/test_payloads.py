"""What a payload looks like, and where its values lie."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.devices.payloads import (
    MAX_PATH_CHARS,
    MAX_PATHS,
    Path,
    describe,
)


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b"", "empty"),
        (b"22.5", "number"),
        (b" +007.50\n", "number"),
        (b"-3e5", "number"),
        (b"true", "json"),
        (b'"on"', "json"),
        (b'{"a": 1}', "json"),
        (b"[]", "json"),
        (b"NaN", "text"),
        (b"Infinity", "text"),
        (b'{"a": NaN}', "text"),
        (b'{"a": "\\ud800"}', "text"),
        (b"1" * 5_000, "text"),
        (b"22,5 \xc2\xb0C\r\n", "text"),
        (b"[" * 100_000, "text"),
        (b"a\0b", "binary"),
        (b"\x1b[31mred", "binary"),
        (b"\xff\xfe\x00", "binary"),
        (b"\xed\xa0\x80", "binary"),
    ],
)
def test_it_guesses_what_a_payload_is(payload: bytes, content_type: str) -> None:
    assert describe(payload).content_type == content_type


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b'{"values": {"t": 2', "json"),
        (b"  [1, 2, ", "json"),
        (b"1234", "text"),
        ("però"[:3].encode() + "ò".encode()[:1], "text"),
        (b"\xff\xd8" + b"x" * 100, "binary"),
    ],
)
def test_it_guesses_from_the_beginning_of_a_long_one(
    payload: bytes, content_type: str
) -> None:
    assert describe(payload, is_cut=True) == (content_type, [])


def test_it_names_every_value_in_the_order_of_the_payload() -> None:
    payload = (
        b'{"a": {"b": [{"x y": 1.5, "it\'s": "on", "back\\\\": 2}]}, "ok": true,'
        b' "t-1": null, "9": 9, "": 0, "empty": {}}'
    )

    described = describe(payload)

    assert described.paths == [
        Path("$.a.b[0]['x y']", "number"),
        Path("$.a.b[0]['it\\'s']", "text"),
        Path("$.a.b[0]['back\\\\']", "number"),
        Path("$.ok", "boolean"),
        Path("$.t-1", "null"),
        Path("$['9']", "number"),
        Path("$['']", "number"),
    ]


def test_a_bare_number_is_its_own_path() -> None:
    assert describe(b"22.5").paths == [Path("$", "number")]


def test_it_names_no_more_than_a_form_can_show() -> None:
    wide = describe(orjson.dumps({f"k{i}": i for i in range(10_000)}))
    deep = describe(b'{"a":' * 200 + b"1" + b"}" * 200)
    long = describe(orjson.dumps({"k" * 600: 1, "s": 2, "e" * 499: {"f": 1}}))
    many = describe(orjson.dumps([[{}] * 50] * 5_000))

    assert len(wide.paths) == MAX_PATHS
    assert deep.paths == []
    assert long.paths == [Path("$.s", "number")]
    assert many.paths == []


def test_a_name_with_nul_has_no_path() -> None:
    assert describe(b'{"a\\u0000b": 1, "c": 2}').paths == [Path("$.c", "number")]


@given(st.binary(max_size=300), st.booleans())
def test_it_takes_any_bytes(payload: bytes, is_cut: bool) -> None:
    content_type, paths = describe(payload, is_cut=is_cut)

    assert content_type in {"empty", "json", "number", "text", "binary"}
    assert len(paths) <= MAX_PATHS


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=700), inner),
        max_leaves=40,
    )
)
def test_it_takes_any_json(body: object) -> None:
    paths = describe(orjson.dumps(body)).paths

    assert all(len(path.path) <= MAX_PATH_CHARS for path in paths)
    assert not any("\0" in path.path for path in paths)
