"""Native payload version 2, which describes its sensors.

`{"v": 2, "serial": "MONSTR-001", "ts": "2025-11-19T10:10:00Z", "readings": [{"id":
"t_ext", "label": "Temperatura Esterna", "type": "temperature", "unit": "°C", "value":
22.5, "ts": "…"}]}`, or a list of such objects. Of a reading only `id` is a must.
"""

from __future__ import annotations

from datetime import tzinfo

from apps.telemetry.facts import DeviceRef, Sample, Samples, SensorInfo
from apps.telemetry.protocols.errors import SchemaMismatchError, TooLargeError
from apps.telemetry.protocols.fields import MAX_SERIAL_CHARS, text
from apps.telemetry.protocols.times import BadTimeError, device_time_us
from apps.telemetry.protocols.values import (
    MAX_KEY_CHARS,
    MAX_SAMPLES,
    check_key,
    sample,
)

MAX_LABEL_CHARS = 200
MAX_TYPE_CHARS = 64
MAX_UNIT_CHARS = 32

_NOTHING_SAID = SensorInfo()


def samples(device: DeviceRef, body: object, received_us: int, zone: tzinfo) -> Samples:
    """Return the readings of a data message in its order, and what it says of sensors.

    Values are those of version 1. A reading without a time has the message's.

    Raises:
        PayloadError: the message does not have this shape, or a value cannot be kept.
    """
    items = body if isinstance(body, list) else [body]
    found: list[Sample] = []
    infos: dict[str, SensorInfo] = {}
    serial: str | None = None
    count = 0
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("readings"), list):
            message = 'expected {"v": 2, "ts": …, "readings": […]} or a list of those'
            raise SchemaMismatchError(message)
        count += len(item["readings"])
        if count > MAX_SAMPLES:
            message = f"over {MAX_SAMPLES} readings in one message"
            raise TooLargeError(message)
        serial = text(item, "serial", MAX_SERIAL_CHARS) or serial
        measured_us = _time(item, received_us, zone)
        for reading in item["readings"]:
            if not isinstance(reading, dict):
                message = "a reading is a JSON object"
                raise SchemaMismatchError(message)
            key = text(reading, "id", MAX_KEY_CHARS) or ""
            check_key(key)
            _learn(infos, key, reading)
            own_us = measured_us
            if reading.get("ts") is not None:
                own_us = _time(reading, received_us, zone)
            raw = reading.get("value")
            if raw is not None:
                found.append(sample(key, raw, own_us))
    return Samples(device, found, infos or None, serial)


def _time(body: dict[str, object], received_us: int, zone: tzinfo) -> int | None:
    try:
        return device_time_us(body.get("ts"), received_us, zone)
    except BadTimeError as error:
        raise SchemaMismatchError(str(error)) from None


def _learn(infos: dict[str, SensorInfo], key: str, reading: dict[str, object]) -> None:
    """Remember what a reading says of its sensor; a later one says it better."""
    info = SensorInfo(
        label=text(reading, "label", MAX_LABEL_CHARS) or "",
        type=text(reading, "type", MAX_TYPE_CHARS) or "",
        unit=text(reading, "unit", MAX_UNIT_CHARS) or "",
    )
    if info == _NOTHING_SAID:
        return
    known = infos.get(key, _NOTHING_SAID)
    infos[key] = SensorInfo(*(new or old for new, old in zip(info, known, strict=True)))
