"""Bytes to values: JSON, or the bare word, number or text that some devices send."""

from __future__ import annotations

import re

import orjson

from apps.telemetry.protocols.errors import JsonInvalidError

# What JSON refuses and devices send all the same: "+5", "007", ".5"
_NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})\Z", re.ASCII)


def strict_json(payload: bytes) -> object:
    """Parse strictly: orjson refuses NaN, Infinity, half surrogates, deep nesting.

    Raises:
        JsonInvalidError: not JSON.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise JsonInvalidError(str(error)[:200]) from None


def json_or_word(payload: bytes) -> object:
    """Return a JSON object or string, or the bare word itself."""
    if payload.lstrip()[:1] in (b"{", b'"'):
        return strict_json(payload)
    return payload.decode("utf-8", errors="replace")


def json_or_scalar(payload: bytes) -> object:
    """Return JSON, or the one bare number or text that the payload is.

    Raises:
        JsonInvalidError: half a JSON document, bytes that are no text, or nothing.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        if not payload.strip() or payload.lstrip()[:1] in (b"{", b"[", b'"'):
            raise JsonInvalidError(str(error)[:200]) from None
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        message = f"neither JSON nor text: not UTF-8 at byte {error.start}"
        raise JsonInvalidError(message) from None
    return float(text) if _NUMBER.match(text) else text
