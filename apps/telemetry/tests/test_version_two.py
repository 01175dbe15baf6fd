"""Native payload version 2: readings that describe their sensors."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.facts import Bad, DeviceRef, Fact, Sample, Samples, SensorInfo
from apps.telemetry.models import QuarantineReason
from apps.telemetry.protocols.decode import decode
from apps.telemetry.protocols.mapped import SiteRules
from apps.telemetry.protocols.values import MAX_SAMPLES

NOW_US = 1_763_547_000_000_000  # 2025-11-19 10:10 UTC
DEVICE = DeviceRef(gateway=None, type="monstro", number="15")
DATA = b"site_001/datalogger/monstro/15/data"
PINNED = SiteRules(pins={("monstro", "15"): 2})


def decoded(body: Any, rules: SiteRules = SiteRules()) -> Fact:  # noqa: B008 (frozen)
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode("site_001", DATA, payload, received_us=NOW_US, zone=UTC, rules=rules)


def message(*readings: Any, **more: Any) -> dict[str, Any]:
    return {"v": 2, "readings": list(readings)} | more


def test_the_contracts_example_is_understood():
    fact = decoded(
        {
            "v": 2,
            "serial": "MONSTR-001",
            "ts": "2025-11-19T10:10:00Z",
            "readings": [
                {
                    "id": "t_ext",
                    "label": "Temperatura Esterna",
                    "type": "temperature",
                    "unit": "°C",
                    "value": 22.5,
                    "ts": "2025-11-19T10:09:00Z",
                },
                {"id": "door", "value": True},
                {"id": "mode", "value": "eco"},
                {"id": "broken", "value": None},
                {"id": "mute"},
            ],
        }
    )

    assert fact == Samples(
        DEVICE,
        [
            Sample("t_ext", 22.5, None, NOW_US - 60_000_000),
            Sample("door", 1.0, None, NOW_US),
            Sample("mode", None, "eco", NOW_US),
        ],
        {"t_ext": SensorInfo("Temperatura Esterna", "temperature", "°C")},
        "MONSTR-001",
    )


def test_a_list_of_messages_is_understood_and_what_is_said_adds_up():
    fact = decoded(
        [
            message({"id": "a", "label": "A", "unit": "V", "value": 1}, ts=1763546000),
            message({"id": "a", "unit": "mV", "value": 2}, ts=1763546001, serial=17),
            message({"id": "a", "value": 3}),
        ]
    )

    assert isinstance(fact, Samples)
    assert [(s.value, s.measured_us) for s in fact.samples] == [
        (1.0, NOW_US - 1_000_000_000),
        (2.0, NOW_US - 999_000_000),
        (3.0, None),
    ]
    assert fact.sensors == {"a": SensorInfo("A", "", "mV")}
    assert fact.serial == "17"


def test_a_pinned_datalogger_need_not_say_the_version():
    body = {"readings": [{"id": "a", "value": 1}]}

    assert isinstance(decoded(body, PINNED), Samples)
    assert isinstance(decoded(body), Bad)


def test_the_payloads_version_wins_over_the_pin():
    fact = decoded({"v": 1, "values": {"a": 1}}, PINNED)

    assert isinstance(fact, Samples)
    assert fact.sensors is None


def test_an_id_may_be_a_number():
    fact = decoded(message({"id": 12, "value": 1}))

    assert isinstance(fact, Samples)
    assert fact.samples[0].key == "12"


def test_an_impossible_time_of_a_reading_is_the_time_of_receipt():
    fact = decoded(message({"id": "a", "value": 1, "ts": 5}, ts=1763547000))

    assert isinstance(fact, Samples)
    assert fact.samples[0].measured_us is None


READING: dict[str, Any] = {"id": "a", "value": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"v": 2}, "schema_mismatch"),
        ({"v": 2, "readings": {}}, "schema_mismatch"),
        ({"v": 2, "values": {"a": 1}}, "schema_mismatch"),
        ([message(), {"v": 2}], "schema_mismatch"),
        (message(3), "schema_mismatch"),
        (message({"value": 1}), "value_invalid"),
        (message({"id": "", "value": 1}), "value_invalid"),
        (message({"id": None, "value": 1}), "value_invalid"),
        (message({"id": True, "value": 1}), "schema_mismatch"),
        (message({"id": "x" * 129, "value": 1}), "schema_mismatch"),
        (message({"id": "a\0", "value": 1}), "schema_mismatch"),
        (message(READING | {"value": []}), "schema_mismatch"),
        (message(READING | {"value": {}}), "schema_mismatch"),
        (message(READING | {"value": "x" * 2_001}), "value_invalid"),
        (message(READING | {"value": "\0"}), "value_invalid"),
        (message(READING | {"label": "x" * 201}), "schema_mismatch"),
        (message(READING | {"type": ["a"]}), "schema_mismatch"),
        (message(READING | {"unit": "\0"}), "schema_mismatch"),
        (message(READING | {"ts": "noon"}), "schema_mismatch"),
        (message(READING, ts={}), "schema_mismatch"),
        (message(READING, serial="x" * 101), "schema_mismatch"),
        (message(READING, serial=1.5), "schema_mismatch"),
        (message(*[{"id": "a"}] * (MAX_SAMPLES + 1)), "too_large"),
        (b'{"v": 2, "readings": [{"id": "\\ud800", "value": 1}]}', "json_invalid"),
        (b'{"v": 2, "readings": [{"id": "a", "value": 1e400}]}', "json_invalid"),
    ],
    ids=lambda body: str(body)[:60],
)
def test_what_cannot_be_kept_says_why(body, reason):
    fact = decoded(body)

    assert isinstance(fact, Bad), fact
    assert fact.reason == reason


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
READINGS = st.lists(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("id", "label", "type", "unit", "value", "ts"), ANYTHING
        ),
    )
    | ANYTHING
)


@given(READINGS | ANYTHING, ANYTHING, ANYTHING)
def test_anything_is_readings_or_a_reason(readings, ts, serial):
    fact = decoded({"v": 2, "readings": readings, "ts": ts, "serial": serial})

    if isinstance(fact, Bad):
        assert fact.reason in QuarantineReason.values
    else:
        assert isinstance(fact, Samples)
        assert all((s.value is None) != (s.text is None) for s in fact.samples)
