"""Bytes to facts: whatever a device sends becomes a fact, and nothing is raised."""

from __future__ import annotations

import json
import math
from datetime import UTC, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.telemetry.facts import (
    Bad,
    DeviceRef,
    DeviceStatus,
    Fact,
    Heartbeat,
    Output,
    Sample,
    Samples,
    Unclaimed,
)
from apps.telemetry.models import QuarantineReason
from apps.telemetry.protocols.decode import MAX_PAYLOAD_BYTES, decode
from apps.telemetry.protocols.mapped import SiteRules
from apps.telemetry.protocols.values import MAX_KEY_CHARS, MAX_SAMPLES, MAX_TEXT_BYTES

NOW_US = 1_763_547_000_000_000  # 2025-11-19 10:10 UTC
DEVICE = DeviceRef(gateway=None, type="monstro", number="15")
DATA = "site_001/datalogger/monstro/15/data"
HEARTBEAT = "site_001/datalogger/monstro/15/heartbeat"
STATUS = "site_001/datalogger/monstro/15/status"


def decoded(
    payload: bytes | str | Any,
    topic: str | bytes = DATA,
    *,
    zone: timezone = UTC,
    pinned: int | None = None,
) -> Fact:
    if not isinstance(payload, (bytes, str)):
        payload = json.dumps(payload)
    return decode(
        "site_001",
        topic.encode() if isinstance(topic, str) else topic,
        payload.encode() if isinstance(payload, str) else payload,
        received_us=NOW_US,
        zone=zone,
        rules=SiteRules(pins={("monstro", "15"): pinned} if pinned else {}),
    )


def samples_of(fact: Fact) -> list[Sample]:
    assert isinstance(fact, Samples), fact
    return fact.samples


def reason_of(fact: Fact) -> str:
    assert isinstance(fact, Bad), fact
    assert fact.reason in QuarantineReason.values
    return fact.reason


# -- what is understood --------------------------------------------------------


def test_numbers_booleans_and_texts_become_samples_in_their_order():
    fact = decoded(
        '{"ts": 1763547000, "values": {"t": 22.5, "n": 51, "d": true, '
        '"e": false, "mode": "eco", "none": null}}'
    )

    assert fact == Samples(
        DEVICE,
        [
            Sample("t", 22.5, None, NOW_US),
            Sample("n", 51.0, None, NOW_US),
            Sample("d", 1.0, None, NOW_US),
            Sample("e", 0.0, None, NOW_US),
            Sample("mode", None, "eco", NOW_US),
        ],
    )


def test_a_list_keeps_each_objects_own_time():
    fact = decoded(
        [
            {"ts": 1763547000, "values": {"t": 1}},
            {"ts": 1763546940, "values": {"t": 2}},
            {"values": {"t": 3}},
        ]
    )

    times = [sample.measured_us for sample in samples_of(fact)]
    assert times == [NOW_US, NOW_US - 60_000_000, None]


@pytest.mark.parametrize("payload", ["[]", '{"values": {}}', '{"values": {"a": null}}'])
def test_a_message_without_values_has_no_samples(payload):
    assert samples_of(decoded(payload)) == []


def test_both_topic_forms_name_one_datalogger():
    direct = decoded('{"values": {"t": 1}}')
    through = decoded('{"values": {"t": 1}}', f"site_001/gateway/7/{DATA[9:]}")

    assert isinstance(direct, Samples)
    assert isinstance(through, Samples)
    assert through.device == direct.device._replace(gateway="7")


@pytest.mark.parametrize(
    ("payload", "is_online"),
    [
        ("online", True),
        ("offline", False),
        ("  ONLINE\n", True),
        ('"offline"', False),
        ('{"state": "online"}', True),
        (' {"state": "offline", "why": "will"}', False),
    ],
)
def test_a_status_may_be_a_word_or_json(payload, is_online):
    assert decoded(payload, STATUS) == DeviceStatus(DEVICE, is_online)


@pytest.mark.parametrize(
    "payload", [b"", b"0", b"on", b"{}", b'{"state": 1}', b'{"state"', b"\xff", b"null"]
)
def test_any_other_status_is_quarantined(payload):
    assert reason_of(decoded(payload, STATUS)) in {"schema_mismatch", "json_invalid"}


def test_an_answer_to_a_command_may_hold_anything():
    topic = "site_001/gateway/1/datalogger/monstro/15/output"

    fact = decoded(b"\xff\x00 not json", topic)

    assert fact == Output(DEVICE._replace(gateway="1"))


# -- what is refused -----------------------------------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "json_invalid"),
        (b"not json", "json_invalid"),
        (b'{"values": {"a": NaN}}', "json_invalid"),
        (b'{"values": {"a": Infinity}}', "json_invalid"),
        (b'{"values": {"a": -Infinity}}', "json_invalid"),
        (b'{"values": {"a": 1e400}}', "json_invalid"),
        (b'{"values": {"a": 01}}', "json_invalid"),
        (b'{"values": {"a": "\\ud800"}}', "json_invalid"),
        (b'{"values": {"\\udfff": 1}}', "json_invalid"),
        (b'{"values": {"a": "\xff"}}', "json_invalid"),
        (b'\xef\xbb\xbf{"values": {"a": 1}}', "json_invalid"),
        ('{"values": {"a": 1}}'.encode("utf-16"), "json_invalid"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "json_invalid"),
        (b'{"values": {"a": 1}', "json_invalid"),
        (b'{"values": {"a": 1}} {"values": {"a": 2}}', "json_invalid"),
        (DEEP, "json_invalid"),
        (b'{"values": {"a":' + DEEP + b"}}", "json_invalid"),
        (b'{"values": {"a": ' + b"9" * 5_000 + b"}}", "json_invalid"),
        (b'{"values": {"a\\u0000": 1}}', "value_invalid"),
        (b'{"values": {"a": "b\\u0000"}}', "value_invalid"),
        (b'{"values": {"": 1}}', "value_invalid"),
        (b"null", "schema_mismatch"),
        (b"3", "schema_mismatch"),
        (b'"text"', "schema_mismatch"),
        (b"{}", "schema_mismatch"),
        (b"[1]", "schema_mismatch"),
        (b"[[]]", "schema_mismatch"),
        (b'{"values": null}', "schema_mismatch"),
        (b'{"values": [1, 2]}', "schema_mismatch"),
        (b'{"values": {"a": [1]}}', "schema_mismatch"),
        (b'{"values": {"a": {}}}', "schema_mismatch"),
        (b'[{"values": {"a": 1}}, {"other": 1}]', "schema_mismatch"),
        (b'{"ts": "yesterday", "values": {"a": 1}}', "schema_mismatch"),
        (b'{"ts": true, "values": {"a": 1}}', "schema_mismatch"),
        (b'{"ts": {}, "values": {"a": 1}}', "schema_mismatch"),
        (b'{"v": 2, "values": {"a": 1}}', "schema_mismatch"),
        (b'{"v": 3, "values": {"a": 1}}', "unknown_version"),
        (b'{"v": true, "values": {"a": 1}}', "unknown_version"),
        (b'{"v": "1", "values": {"a": 1}}', "unknown_version"),
        (b'{"v": 1e300, "values": {"a": 1}}', "unknown_version"),
        (b'{"v": {}, "values": {"a": 1}}', "unknown_version"),
    ],
)
def test_a_data_message_that_cannot_be_kept_says_why(payload, reason):
    assert reason_of(decoded(payload)) == reason


@pytest.mark.parametrize("depth", [10, 500, 990, 1_000, 1_020])
def test_nesting_in_place_of_the_version_harms_nobody(depth):
    bomb = b'{"v": ' + b"[" * depth + b"]" * depth + b"}"

    assert reason_of(decoded(bomb)) == "unknown_version"


def test_the_largest_values_are_kept_and_the_next_ones_refused():
    fits = decoded({"values": {"k" * MAX_KEY_CHARS: "è" * (MAX_TEXT_BYTES // 2)}})
    long_key = decoded({"values": {"k" * (MAX_KEY_CHARS + 1): 1}})
    long_text = decoded({"values": {"k": "è" * (MAX_TEXT_BYTES // 2) + "!"}})

    assert len(samples_of(fits)) == 1
    assert reason_of(long_key) == "value_invalid"
    assert reason_of(long_text) == "value_invalid"


def test_too_many_values_are_refused_also_when_a_list_holds_them():
    one = {"values": {str(n): n for n in range(MAX_SAMPLES)}}

    assert len(samples_of(decoded(one))) == MAX_SAMPLES
    assert reason_of(decoded([one, {"values": {"one more": 1}}])) == "too_large"


def test_a_payload_over_one_mebibyte_is_refused_unread():
    payload = b" " * (MAX_PAYLOAD_BYTES + 1)

    assert reason_of(decoded(payload)) == "too_large"


@pytest.mark.parametrize(
    "number", ["1e308", "-1e308", "5e-324", "18446744073709551616"]
)
def test_the_outermost_numbers_are_kept(number):
    [sample] = samples_of(decoded(f'{{"values": {{"a": {number}}}}}'))

    assert sample.value == float(number)


# -- versions ------------------------------------------------------------------


def test_the_payloads_version_wins_over_the_pinned_one():
    assert samples_of(decoded('{"v": 1, "values": {"a": 1}}', pinned=9))


def test_the_pinned_version_is_used_where_the_payload_names_none():
    assert reason_of(decoded('{"values": {"a": 1}}', pinned=9)) == "unknown_version"


# -- heartbeats ----------------------------------------------------------------


def test_an_empty_heartbeat_is_a_heartbeat():
    assert decoded(b"", HEARTBEAT) == Heartbeat(DEVICE)
    assert decoded(b"{}", HEARTBEAT) == Heartbeat(DEVICE)


def test_a_heartbeat_says_what_the_contract_shows():
    fact = decoded(
        {
            "ts": 1763547000,
            "serial": "MONSTR-001",
            "label": "Datalogger Edificio A",
            "firmware": "V.5.53.0",
            "uptime": 86400,
            "interval": 60,
            "rssi": -67,
            "battery": 3.9,
        },
        HEARTBEAT,
    )

    assert fact == Heartbeat(
        DEVICE, "MONSTR-001", "Datalogger Edificio A", "V.5.53.0", 86400, 60, -67.0, 3.9
    )


@pytest.mark.parametrize(
    "payload", [b"alive", b"\xff\xfe", b"[]", b"1", b'"on"', b"null!", DEEP, b"NaN"]
)
def test_a_heartbeat_that_is_no_object_is_quarantined(payload):
    assert reason_of(decoded(payload, HEARTBEAT)) in {"json_invalid", "schema_mismatch"}


@pytest.mark.parametrize(
    "body",
    [
        {"serial": "S\0"},
        {"serial": ["S"]},
        {"serial": True},
        {"serial": "S" * 101},
        {"label": "L" * 201},
        {"firmware": 1.5},
        {"interval": "60"},
        {"interval": True},
        {"uptime": {}},
        {"rssi": []},
    ],
)
def test_a_heartbeat_with_a_field_of_the_wrong_kind_is_quarantined(body):
    assert reason_of(decoded(body, HEARTBEAT)) == "schema_mismatch"


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"interval": 0}, "interval_s", None),
        ({"interval": -5}, "interval_s", None),
        ({"interval": 0.2}, "interval_s", 1),
        ({"interval": 59.5}, "interval_s", 60),
        ({"interval": 1e308}, "interval_s", 31 * 86_400),
        ({"uptime": -1}, "uptime_s", 0),
        ({"uptime": 1e308}, "uptime_s", 2**62),
        ({"serial": 12345}, "serial", "12345"),
        ({"label": ""}, "label", ""),
    ],
)
def test_odd_fields_of_a_heartbeat_are_brought_into_their_bounds(body, field, value):
    fact = decoded(body, HEARTBEAT)

    assert getattr(fact, field) == value


# -- topics --------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic",
    [
        "site_001/datalogger/monstro/15/input",
        "site_001/backend/status",
        "site_0010/datalogger/monstro/15/data",
        "site_01/datalogger/monstro/15/data",
        "ѕite_001/datalogger/monstro/15/data",  # the first letter is Cyrillic
        "$SYS/broker/uptime",
        "site_001",
        "site_001/",
        "/",
        "",
        "a/" * 200 + "data",
        "site_001/" + "a/" * 200 + "data",
    ],
)
def test_a_topic_of_nobody_is_unclaimed(topic):
    assert decoded(b"\xff", topic) == Unclaimed()


@pytest.mark.parametrize(
    "topic", [b"\xff\xfe", b"site_001/\xed\xa0\x80", b"site_001/\0"]
)
def test_a_topic_that_is_no_text_is_quarantined(topic):
    assert reason_of(decoded(b"{}", topic)) == "topic_invalid"


# -- anything at all -----------------------------------------------------------

TOPICS = st.sampled_from([DATA, HEARTBEAT, STATUS]).map(str.encode) | st.binary(
    max_size=80
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dictionaries(
        st.sampled_from(["ts", "values", "v", "serial", "interval", "state"]),
        st.none() | st.integers() | st.floats() | st.text(max_size=8),
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ts", "values", "v", "a"]), inner)
    ),
    max_leaves=5,
)
PAYLOADS = st.binary(max_size=200) | JSON.map(lambda body: json.dumps(body).encode())


@settings(max_examples=60)
@given(topic=TOPICS, payload=PAYLOADS, pinned=st.none() | st.integers())
def test_decode_never_raises_and_keeps_only_what_the_tables_hold(
    topic, payload, pinned
):
    fact = decoded(payload, topic, pinned=pinned)

    if isinstance(fact, Bad):
        assert fact.reason in QuarantineReason.values
        assert len(fact.detail) <= 300
    if isinstance(fact, Samples):
        for sample in fact.samples:
            assert (sample.value is None) != (sample.text is None)
            assert sample.value is None or math.isfinite(sample.value)
            assert "\0" not in sample.key + (sample.text or "")


@settings(max_examples=30)
@given(topic=TOPICS, payload=PAYLOADS)
def test_decode_is_pure(topic, payload):
    assert decoded(payload, topic) == decoded(payload, topic)
