"""Mappings while decoding: which one is used, what it reads, what it refuses."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.facts import (
    Bad,
    DeviceRef,
    Fact,
    Sample,
    Samples,
    SensorInfo,
    Unclaimed,
)
from apps.telemetry.models import QuarantineReason, TopicMapping
from apps.telemetry.protocols.decode import MAX_PAYLOAD_BYTES, decode
from apps.telemetry.protocols.mapped import SiteRules
from apps.telemetry.rules import compiled

NOW_US = 1_763_547_000_000_000  # 2025-11-19 10:10 UTC
TOPIC = b"site_001/weather/roof"
DATA = b"site_001/datalogger/monstro/15/data"
ROOF = DeviceRef(gateway=None, type="weather", number="roof")
MONSTRO = DeviceRef(gateway=None, type="monstro", number="15")


def mapping(*values: dict[str, Any], **fields: Any) -> TopicMapping:
    return TopicMapping(values=list(values), **fields)


def for_roof(*values: dict[str, Any], **fields: Any) -> TopicMapping:
    return mapping(
        *values, datalogger_type="weather", datalogger_number="roof", **fields
    )


def value(path: str, key: str = "t", **more: Any) -> dict[str, Any]:
    return {"path": path, "key": key, **more}


def read(
    payload: bytes,
    row: TopicMapping,
    topic: bytes = TOPIC,
    zone: Any = UTC,
) -> Fact:
    rules = SiteRules(by_topic={topic: compiled(row)})
    return decode(
        "site_001", topic, payload, received_us=NOW_US, zone=zone, rules=rules
    )


def said(fact: Fact) -> list[float | str | None]:
    assert isinstance(fact, Samples), fact
    return [s.value if s.text is None else s.text for s in fact.samples]


# -- what it reads -------------------------------------------------------------


def test_it_finds_scales_and_describes_what_lies_at_its_paths():
    row = for_roof(
        value("$.temp", "t", label="Roof", type="temperature", unit="°C", scale=0.1),
        value("$['wind speed'][0]", "w", offset=-1),
        value("$.on", "on"),
        value("$.mode", "m"),
    )

    fact = read(b'{"temp": 225, "wind speed": [3], "on": true, "mode": "eco"}', row)

    assert fact == Samples(
        ROOF,
        [
            Sample("t", 22.5, None, None),
            Sample("w", 2.0, None, None),
            Sample("on", 1.0, None, None),
            Sample("m", None, "eco", None),
        ],
        {"t": SensorInfo("Roof", "temperature", "°C")},
    )


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b"22.5", 22.5),
        (b" +22.5\n", 22.5),
        (b"007", 7.0),
        (b".5", 0.5),
        (b"true", 1.0),
        (b'"ON"', "ON"),
        (b"ON", "ON"),
        (b"NaN", "NaN"),
        (b"1,5", "1,5"),
        ("22.5 °C".encode(), "22.5 °C"),
        ("١٢".encode(), "١٢"),
    ],
)
def test_a_bare_payload_is_a_number_or_a_text(payload, wanted):
    assert said(read(payload, for_roof(value("$")))) == [wanted]


def test_what_is_missing_or_null_is_no_reading():
    row = for_roof(value("$.a", "a"), value("$.b", "b"), value("$.c", "c"))

    assert said(read(b'{"b": 2, "c": null}', row)) == [2.0]
    assert said(read(b'{"c": null}', row)) == []


def test_its_time_is_the_messages_in_the_sites_zone():
    row = for_roof(value("$.t"), ts_path="$.meta.at")
    rome = ZoneInfo("Europe/Rome")

    def time_of(payload: bytes) -> int | None:
        fact = read(payload, row, zone=rome)
        assert isinstance(fact, Samples), fact
        return fact.samples[0].measured_us

    local = b'{"t": 1, "meta": {"at": "2025-11-19T11:00:00"}}'
    assert time_of(local) == NOW_US - 600_000_000
    assert time_of(b'{"t": 1, "meta": {"at": 1763547000123}}') == NOW_US + 123_000
    assert time_of(b'{"t": 1, "meta": {"at": 5}}') is None
    assert time_of(b'{"t": 1, "meta": {"at": null}}') is None
    assert time_of(b'{"t": 1}') is None


# -- what it refuses -----------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "json_invalid"),
        (b'{"a": 1', "json_invalid"),
        (b"\xff\xfe", "json_invalid"),
        (b'{"a": NaN}', "json_invalid"),
        (b'{"b": 1}', "schema_mismatch"),
        (b"7", "schema_mismatch"),
        (b'{"a": {}}', "schema_mismatch"),
        (b'{"a": [1]}', "schema_mismatch"),
        (b'{"a": "text for a scaled value"}', "schema_mismatch"),
        (b'{"a": 1e308}', "value_invalid"),
        (b'{"a": 1, "at": "yesterday"}', "schema_mismatch"),
        (b'{"a": 1, "at": true}', "schema_mismatch"),
        (b" " * (MAX_PAYLOAD_BYTES + 1), "too_large"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_quarantined_with_the_reason(payload, reason):
    fact = read(payload, for_roof(value("$.a", scale=10), ts_path="$.at"))

    assert isinstance(fact, Bad)
    assert (fact.reason, len(fact.detail) <= 300) == (reason, True)


def test_a_text_with_nul_or_over_long_is_refused():
    row = for_roof(value("$"))

    for payload in (b"a\0b", b'"a\\u0000b"', b"x" * 2_001):
        fact = read(payload, row)
        assert isinstance(fact, Bad)
        assert fact.reason == "value_invalid"


# -- which one is used ---------------------------------------------------------


def test_a_mapping_of_a_native_topic_goes_before_the_decoder():
    row = mapping(value("$.values.t", "renamed"))

    fact = read(b'{"values": {"t": 1}}', row, topic=DATA)

    assert isinstance(fact, Samples)
    assert (fact.device, fact.samples[0].key) == (MONSTRO, "renamed")


def test_a_mapping_names_the_datalogger_though_the_topic_does():
    fact = read(b'{"values": {"t": 1}}', for_roof(value("$.values.t")), topic=DATA)

    assert isinstance(fact, Samples)
    assert fact.device == ROOF


def test_without_a_datalogger_anywhere_it_is_refused():
    fact = read(b"1", mapping(value("$")))

    assert isinstance(fact, Bad)
    assert fact.reason == "schema_mismatch"


def test_only_the_very_topic_is_mapped():
    rules = SiteRules(by_topic={TOPIC: compiled(for_roof(value("$")))})

    fact = decode(
        "site_001", TOPIC + b"/x", b"1", received_us=NOW_US, zone=UTC, rules=rules
    )

    assert fact == Unclaimed()


def versioned(payload: bytes, *, pin: int | None = None, topic: bytes = DATA) -> Fact:
    rules = SiteRules(
        pins={("monstro", "15"): pin} if pin else {},
        by_version={7: compiled(mapping(value("$.data.t")))},
    )
    return decode("site_001", topic, payload, received_us=NOW_US, zone=UTC, rules=rules)


def test_a_version_without_a_decoder_is_read_by_its_mapping():
    fact = versioned(b'{"v": 7, "data": {"t": 5}}')

    assert fact == Samples(MONSTRO, [Sample("t", 5.0, None, None)])


def test_a_pinned_datalogger_need_not_name_its_version():
    assert said(versioned(b'{"data": {"t": 5}}', pin=7)) == [5.0]


def test_the_payloads_version_wins_over_the_pin_of_a_mapping():
    assert said(versioned(b'{"v": 1, "values": {"a": 3}}', pin=7)) == [3.0]
    assert isinstance(versioned(b'{"v": 8, "data": {"t": 5}}', pin=7), Bad)


def test_a_mapping_of_a_version_reads_data_topics_only():
    heartbeat = b"site_001/datalogger/monstro/15/heartbeat"

    fact = versioned(b'{"v": 7, "data": {"t": 5}}', topic=heartbeat)

    assert not isinstance(fact, (Samples, Bad))


# -- whatever comes ------------------------------------------------------------

BODY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abv"), inner)
    ),
    max_leaves=8,
)


@given(
    st.binary(max_size=40) | BODY.map(lambda body: repr(body).encode()),
    st.sampled_from(["$", "$.a", "$.b[0]", "$.a.b"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "$.b", "$.a"]),
)
def test_any_payload_is_readings_or_a_reason(payload, path, scale, ts_path):
    fact = read(payload, for_roof(value(path, scale=scale), ts_path=ts_path))

    if isinstance(fact, Bad):
        assert fact.reason in QuarantineReason.values
    else:
        assert isinstance(fact, Samples)
        for sample in fact.samples:
            assert (sample.value is None) != (sample.text is None)
            assert sample.value is None or abs(sample.value) < float("inf")
