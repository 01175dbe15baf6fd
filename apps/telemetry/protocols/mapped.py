"""Messages that no decoder understands, read by a mapping that a person wrote.

A mapping names the values in a payload by path. The payload is JSON, or one bare number
or text, which lies at `$`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import NamedTuple

from apps.telemetry.facts import DeviceRef, Sample, Samples, SensorInfo
from apps.telemetry.protocols import values
from apps.telemetry.protocols.errors import SchemaMismatchError, ValueInvalidError
from apps.telemetry.protocols.paths import MISSING, Path, look
from apps.telemetry.protocols.times import BadTimeError, device_time_us


class MappedValue(NamedTuple):
    """One sensor: the reading is what lies at `path`, times scale, plus offset."""

    path: Path
    key: str
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_scaled(self) -> bool:
        return self.scale != 1.0 or self.offset != 0.0


@dataclass(frozen=True, slots=True)
class PayloadMapping:
    """How one kind of message becomes the readings of a datalogger.

    `device` is None where the topic names the datalogger. `sensors` says by key what
    the mapping tells about its sensors.
    """

    values: tuple[MappedValue, ...]
    ts_path: Path | None = None
    device: DeviceRef | None = None
    sensors: dict[str, SensorInfo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What decoding needs to know of a site beside its code and its time zone.

    Attributes:
        pins: protocol versions by a datalogger's type and number.
        by_topic: mappings by the whole topic; they go before every decoder.
        by_version: mappings of data messages whose version has no decoder.
    """

    pins: Mapping[tuple[str, str], int] = field(default_factory=dict)
    by_topic: Mapping[bytes, PayloadMapping] = field(default_factory=dict)
    by_version: Mapping[int, PayloadMapping] = field(default_factory=dict)


NO_RULES = SiteRules()


def samples(
    mapping: PayloadMapping,
    device: DeviceRef,
    body: object,
    received_us: int,
    zone: tzinfo,
) -> Samples:
    """Return the readings that the mapping finds in a parsed payload.

    What is missing, or null, is no reading of its sensor.

    Raises:
        PayloadError: none of the values is there, or one cannot be kept.
    """
    measured_us = _measured_us(mapping, body, received_us, zone)
    found: list[Sample] = []
    are_missing = True
    for value in mapping.values:
        raw = look(body, value.path)
        if raw is MISSING:
            continue
        are_missing = False
        if raw is not None:
            found.append(_sample(value, raw, measured_us))
    if are_missing:
        message = "none of the mapping's values is there"
        raise SchemaMismatchError(message)
    return Samples(device, found, mapping.sensors or None)


def _measured_us(
    mapping: PayloadMapping, body: object, received_us: int, zone: tzinfo
) -> int | None:
    if mapping.ts_path is None:
        return None
    ts = look(body, mapping.ts_path)
    if ts is MISSING:
        return None
    try:
        return device_time_us(ts, received_us, zone)
    except BadTimeError as error:
        raise SchemaMismatchError(str(error)) from None


def _sample(value: MappedValue, raw: object, measured_us: int | None) -> Sample:
    sample = values.sample(value.key, raw, measured_us)
    if not value.is_scaled:
        return sample
    if sample.value is None:
        message = f"{value.key[:40]!r} is scaled, but a text came"
        raise SchemaMismatchError(message)
    scaled = sample.value * value.scale + value.offset
    if not math.isfinite(scaled):
        message = f"value of {value.key[:40]!r} is too large once it is scaled"
        raise ValueInvalidError(message)
    return sample._replace(value=scaled)
