"""Heartbeats and a device's own status, the same in every payload version."""

from __future__ import annotations

import math

from apps.telemetry.facts import DeviceRef, DeviceStatus, Heartbeat
from apps.telemetry.protocols.errors import SchemaMismatchError

MAX_INTERVAL_S = 31 * 86_400
_MAX_TEXT = {"serial": 100, "label": 200, "firmware": 100}
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
    interval = _number(body, "interval")
    uptime = _number(body, "uptime")
    return Heartbeat(
        device=device,
        serial=_text(body, "serial"),
        label=_text(body, "label"),
        firmware=_text(body, "firmware"),
        uptime_s=None if uptime is None else max(0, min(int(uptime), 2**62)),
        interval_s=(
            None
            if interval is None or interval <= 0
            else max(1, min(math.ceil(interval), MAX_INTERVAL_S))
        ),
        rssi=_number(body, "rssi"),
        battery=_number(body, "battery"),
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


def _text(body: dict[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # serial numbers are often written as numbers
    if not isinstance(value, str) or "\0" in value or len(value) > _MAX_TEXT[name]:
        message = f"{name} is not a text of at most {_MAX_TEXT[name]} characters"
        raise SchemaMismatchError(message)
    return value


def _number(body: dict[str, object], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    msg = f"{name} is not a finite number"
    raise SchemaMismatchError(msg)
