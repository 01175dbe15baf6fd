"""Guesses what a payload is, and names the values in it. Pure; it never raises.

A path is `$` for the whole, `.name` or `['any name']` for a member, `[0]` for an item:
the dialect that a topic's mapping is written in.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import orjson

MAX_PATHS = 64  # a form that lists more helps nobody
MAX_DEPTH = 8
MAX_PATH_CHARS = 500  # what a mapping takes
MAX_ITEMS = 8  # of a list; the rest looks alike
MAX_LOOKS = 1_000  # at values, however many lead to no path

EMPTY, JSON, NUMBER, TEXT, BINARY = "empty", "json", "number", "text", "binary"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
# What orjson refuses and a device may well send: "+5", "007", " 22.5 ", ".5"
_NUMBER = re.compile(rb"\s*[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})\s*\Z")
_NUMBER_BYTES = 64
_TEXT_CONTROLS = {"\t", "\n", "\r"}


class Path(NamedTuple):
    """Where a value lies, and its type: number, text, boolean or null."""

    path: str
    type: str


class Description(NamedTuple):
    content_type: str
    paths: list[Path]


def describe(payload: bytes, *, is_cut: bool = False) -> Description:
    """Return what a payload looks like.

    Args:
        payload: its bytes; 64 KiB take about a millisecond.
        is_cut: there was more of it, which is not here.
    """
    if not payload:
        return Description(EMPTY, [])
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _bare(payload, is_cut=is_cut)
    if is_cut:  # half of a number, or of a text, may well be JSON
        return Description(JSON if _opens_json(payload) else TEXT, [])
    is_number = isinstance(body, (int, float)) and not isinstance(body, bool)
    return Description(NUMBER if is_number else JSON, _paths(body))


def _bare(payload: bytes, *, is_cut: bool) -> Description:
    """Describe what is no JSON; a bare number or text lies at `$`."""
    if len(payload) <= _NUMBER_BYTES and _NUMBER.match(payload) and not is_cut:
        return Description(NUMBER, [Path("$", "number")])
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut may go through a letter of up to four bytes.
        if not is_cut or error.start < len(payload) - 3:
            return Description(BINARY, [])
        text = payload[: error.start].decode("utf-8")
    if any(letter < " " and letter not in _TEXT_CONTROLS for letter in text):
        return Description(BINARY, [])
    if is_cut:
        return Description(JSON if _opens_json(payload) else TEXT, [])
    is_broken = not text.strip() or text.lstrip()[0] in '{["'
    return Description(TEXT, [] if is_broken else [Path("$", "text")])


def _opens_json(payload: bytes) -> bool:
    return payload.lstrip()[:1] in (b"{", b"[")


def _paths(body: object) -> list[Path]:
    """Return the values' paths in the order of the payload."""
    found: list[Path] = []
    # Our own stack: the payload says how deep it is, Python how deep it goes.
    left: list[tuple[str, int, object]] = [("$", 0, body)]
    for _ in range(MAX_LOOKS):
        if not left or len(found) == MAX_PATHS:
            break
        path, depth, value = left.pop()
        if len(path) > MAX_PATH_CHARS:
            continue
        if not isinstance(value, (dict, list)):
            found.append(Path(path, _type_of(value)))
        elif depth < MAX_DEPTH:
            inner = _inner(path, value)
            left += [(name, depth + 1, item) for name, item in reversed(inner)]
    return found


def _inner(
    path: str, value: dict[str, object] | list[object]
) -> list[tuple[str, object]]:
    if isinstance(value, list):
        return [(f"{path}[{i}]", item) for i, item in enumerate(value[:MAX_ITEMS])]
    return [
        (path + _step(name), value[name])
        for name in list(value)[:MAX_LOOKS]
        if "\0" not in name and len(name) <= MAX_PATH_CHARS  # PostgreSQL holds no NUL
    ]


def _step(name: str) -> str:
    if _NAME.match(name):
        return f".{name}"
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number" if math.isfinite(value) else "text"
    return "text"
