"""Heartbeats and a device's own status, the same in every payload version."""

from __future__ import annotations

import math

from apps.telemetry.facts import DeviceRef, DeviceStatus, Heartbeat
from apps.telemetry.protocols.errors import SchemaMismatchError
from apps.telemetry.protocols.fields import MAX_SERIAL_CHARS, number, text

MAX_INTERVAL_S = 31 * 86_400
_MAX_LABEL_CHARS = 200
_MAX_FIRMWARE_CHARS = 100
_STATES = {"online": True, "offline": False}


def heartbeat(device: DeviceRef, body: object) -> Heartbeat:
    """Return what a heartbeat says; every field may be missing, the body may be empty.

    Raises:
        PayloadError: not an object, or a field of the wrong kind.
    """
    if body is None:
        return Heartbeat(device)
    if not isinstance(body, dict):
        msg = "a heartbeat is a JSON object or empty"
        raise SchemaMismatchError(msg)
    interval = number(body, "interval")
    uptime = number(body, "uptime")
    return Heartbeat(
        device=device,
        serial=text(body, "serial", MAX_SERIAL_CHARS),
        label=text(body, "label", _MAX_LABEL_CHARS),
        firmware=text(body, "firmware", _MAX_FIRMWARE_CHARS),
        uptime_s=None if uptime is None else max(0, min(int(uptime), 2**62)),
        interval_s=(
            None
            if interval is None or interval <= 0
            else max(1, min(math.ceil(interval), MAX_INTERVAL_S))
        ),
        rssi=number(body, "rssi"),
        battery=number(body, "battery"),
    )


def status(device: DeviceRef, body: object) -> DeviceStatus:
    """Return a device's birth or will: `online`, `offline`, or `{"state": …}`.

    Raises:
        PayloadError: anything else.
    """
    state = body.get("state") if isinstance(body, dict) else body
    word = state.strip().lower() if isinstance(state, str) else ""
    if word not in _STATES:
        msg = "a status is online or offline"
        raise SchemaMismatchError(msg)
    return DeviceStatus(device, _STATES[word])
