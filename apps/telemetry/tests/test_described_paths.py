"""What discovery names in a payload, a mapping finds there."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from apps.devices.payloads import describe
from apps.telemetry.protocols.paths import look, parse
from apps.telemetry.protocols.payloads import json_or_scalar

TYPES = {str: "text", bool: "boolean", int: "number", float: "number"}


@given(
    st.recursive(
        st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )
)
def test_every_path_leads_to_a_value_of_its_type(body: object) -> None:
    payload = orjson.dumps(body)

    for path, type_ in describe(payload).paths:
        assert TYPES[type(look(json_or_scalar(payload), parse(path)))] == type_


@given(
    st.from_regex(
        rb"[+-]?[0-9]{1,5}(\.[0-9]{0,3})?|[a-z ]{0,9}\xc2\xb0C?", fullmatch=True
    )
)
def test_a_bare_number_or_text_lies_at_the_root(payload: bytes) -> None:
    [(path, type_)] = describe(payload).paths

    assert TYPES[type(look(json_or_scalar(payload), parse(path)))] == type_
