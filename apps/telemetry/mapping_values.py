"""What a mapping may say: every text and number of it checked, in one place. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.telemetry.protocols import paths
from apps.telemetry.protocols.topics import MAX_LEVEL_CHARS
from apps.telemetry.protocols.v2 import MAX_LABEL_CHARS, MAX_TYPE_CHARS, MAX_UNIT_CHARS
from apps.telemetry.protocols.values import MAX_KEY_CHARS

MAX_VALUES = 200  # of one mapping
MAX_TOPIC_BYTES = 65_535  # MQTT's own bound

_TEXTS = {"label": MAX_LABEL_CHARS, "type": MAX_TYPE_CHARS, "unit": MAX_UNIT_CHARS}


class MappingInvalidError(DomainError):
    """A mapping that cannot be used; `fields` names what is wrong with it."""

    code = "invalid"
    status = 400

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", fields={field: [problem]})


def refuse(field: str, problem: str) -> NoReturn:
    raise MappingInvalidError(field, problem)


def clean_values(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the values as they are stored, all members there.

    Raises:
        MappingInvalidError: says which one, and why.
    """
    if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= MAX_VALUES:
        refuse("values", _("A mapping has 1 to %d values") % MAX_VALUES)
    clean = [_clean(f"values.{place}", value) for place, value in enumerate(values)]
    seen: set[str] = set()
    for place, value in enumerate(clean):
        if value["key"] in seen:
            refuse(f"values.{place}.key", _("This key is there twice"))
        seen.add(value["key"])
    return clean


def _clean(field: str, value: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        refuse(field, _("Each value has a path and a key"))
    key = _text(f"{field}.key", value.get("key"), MAX_KEY_CHARS)
    if not key:
        refuse(f"{field}.key", _("This is required"))
    texts = {
        name: _text(f"{field}.{name}", value.get(name) or "", max_chars)
        for name, max_chars in _TEXTS.items()
    }
    return {
        "path": clean_path(f"{field}.path", value.get("path")),
        "key": key,
        **texts,
        "scale": _number(f"{field}.scale", value.get("scale", 1)),
        "offset": _number(f"{field}.offset", value.get("offset", 0)),
    }


def clean_path(field: str, path: object) -> str:
    """Return the path; raises MappingInvalidError if it is none."""
    if not isinstance(path, str) or not is_storable(path):
        refuse(field, _("A path is a text like $.values.temperature"))
    try:
        paths.parse(path)
    except paths.PathError as error:
        refuse(
            field,
            _("Not a path from character %d on: use $, .name, ['any name'] or [0]")
            % (error.place + 1),
        )
    return path


def clean_level(field: str, level: str) -> str:
    """Return a datalogger's type or number: one level of a topic."""
    _text(field, level, MAX_LEVEL_CHARS)
    if any(letter in level for letter in "+#/"):
        refuse(field, _("This is one level of a topic: without '/', '+' and '#'"))
    return level


def _text(field: str, text: object, max_chars: int) -> str:
    if not isinstance(text, str) or not is_storable(text) or len(text) > max_chars:
        refuse(field, _("A text of at most %d characters, without NUL") % max_chars)
    return text


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL takes it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _number(field: str, number: object) -> float:
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        try:
            if math.isfinite(number):
                return float(number)
        except OverflowError:
            pass  # as bad as infinite
    refuse(field, _("A finite number is required"))
