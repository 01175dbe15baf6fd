"""Native payload version 1: `{"ts": …, "values": {"t_ext": 22.5, "door": true}}`.

Or a list of such objects.
"""

from __future__ import annotations

from datetime import tzinfo

from apps.telemetry.facts import DeviceRef, Sample, Samples
from apps.telemetry.protocols.errors import SchemaMismatchError, TooLargeError
from apps.telemetry.protocols.times import BadTimeError, device_time_us
from apps.telemetry.protocols.values import MAX_SAMPLES, sample


def samples(device: DeviceRef, body: object, received_us: int, zone: tzinfo) -> Samples:
    """Return the readings of a data message, in its order.

    Numbers and booleans are readings, text is the sensor's text value, null is no
    reading.

    Raises:
        PayloadError: the message does not have this shape, or a value cannot be kept.
    """
    items = body if isinstance(body, list) else [body]
    found: list[Sample] = []
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("values"), dict):
            message = 'expected {"ts": …, "values": {…}} or a list of such objects'
            raise SchemaMismatchError(message)
        try:
            measured_us = device_time_us(item.get("ts"), received_us, zone)
        except BadTimeError as error:
            raise SchemaMismatchError(str(error)) from None
        for key, raw in item["values"].items():
            if raw is not None:
                found.append(sample(key, raw, measured_us))
        if len(found) > MAX_SAMPLES:
            message = f"over {MAX_SAMPLES} values in one message"
            raise TooLargeError(message)
    return Samples(device, found)
