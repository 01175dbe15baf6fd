"""The form that says how a topic's payload becomes readings: what it shows and reads.

The rules are those of the API (`MappingSerializer`, `apps.telemetry.mappings`); this is
only between them and the fields of a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from apps.devices.models import Datalogger
from apps.telemetry.models import TopicMapping

NEW = "new"
NAMES = ("path", "key", "label", "type", "unit", "scale", "offset")
MAX_ROWS = 300  # more than the 200 that a mapping takes

_LAST_NAME = re.compile(r"(?:\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\])(?:\[\d+\])*\Z")


@dataclass(slots=True)
class Row:
    """One value of the payload, and the sensor that it becomes if it is ticked."""

    path: str
    kind: str = ""
    is_used: bool = False
    key: str = ""
    label: str = ""
    type: str = ""
    unit: str = ""
    scale: str = "1"
    offset: str = "0"
    problems: list[str] = field(default_factory=list)

    @property
    def kind_label(self) -> str:
        labels = {
            "number": _("number"),
            "text": _("text"),
            "boolean": _("yes or no"),
            "null": _("nothing"),
        }
        return labels.get(self.kind, "")

    def as_value(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in NAMES}


@dataclass(slots=True)
class Draft:
    """What is in the form: of a mapping that exists, or what a person sent."""

    rows: list[Row]
    device: str = ""  # a datalogger's id, NEW, or empty: as the topic says
    new_type: str = ""
    new_number: str = ""
    ts_path: str = ""

    @property
    def used(self) -> list[Row]:
        return [row for row in self.rows if row.is_used]


def draft_of(
    paths: Iterable[Mapping[str, str]],
    topic: str,
    mapping: TopicMapping | None,
    dataloggers: Iterable[Datalogger],
    *,
    names_its_own: bool,
) -> Draft:
    """Return what the form shows first.

    Args:
        paths: the values of the payload, each with `path` and `type`.
        topic: of the message.
        mapping: what is stored of it.
        dataloggers: those that can be chosen.
        names_its_own: the topic itself says whose readings they are.
    """
    rows = _offered(paths, topic)
    if mapping is None:
        return Draft(rows, device="" if names_its_own else NEW)
    stored = {value["path"]: value for value in mapping.values}
    for row in rows:
        if row.path in stored:
            _fill(row, stored.pop(row.path))
    for path, value in stored.items():  # not in the last payload
        rows.append(row := Row(path))
        _fill(row, value)
    return Draft(
        rows,
        device=_device_of(mapping, dataloggers),
        new_type=mapping.datalogger_type,
        new_number=mapping.datalogger_number,
        ts_path=mapping.ts_path,
    )


def _offered(paths: Iterable[Mapping[str, str]], topic: str) -> list[Row]:
    taken: set[str] = set()
    rows = []
    for each in paths:
        key = _unused(key_from(each["path"], topic), taken)
        taken.add(key)
        kind = each["type"]
        type_ = "boolean" if kind == "boolean" else ""
        rows.append(Row(each["path"], kind=kind, key=key, type=type_))
    return rows


def _fill(row: Row, value: Mapping[str, Any]) -> None:
    row.is_used = True
    for name in ("key", "label", "type", "unit"):
        setattr(row, name, str(value.get(name, "")))
    row.scale, row.offset = f"{value['scale']:.12g}", f"{value['offset']:.12g}"


def _device_of(mapping: TopicMapping, dataloggers: Iterable[Datalogger]) -> str:
    if not mapping.datalogger_type:
        return ""
    name = (mapping.datalogger_type, mapping.datalogger_number)
    known = {(row.type, row.number): str(row.pk) for row in dataloggers}
    return known.get(name, NEW)


def key_from(path: str, topic: str) -> str:
    """Return a key for what lies at a path: its own name, else the topic's."""
    found = _LAST_NAME.search(path)
    if found is None:
        return topic.rsplit("/", 1)[-1][:128] or "value"
    return (found[1] or found[2] or "value")[:128]


def _unused(key: str, taken: set[str]) -> str:
    place = 1
    found = key
    while found in taken:
        place += 1
        found = f"{key[:120]}_{place}"
    return found


# -- what a person sent --------------------------------------------------------


def read_draft(sent: Mapping[str, str], paths: Iterable[Mapping[str, str]]) -> Draft:
    """Return what was sent; rows keep their order, and unticked ones their texts."""
    kinds = {each["path"]: each["type"] for each in paths}
    rows = []
    for place in range(_count(sent.get("rows", ""))):
        path = sent.get(f"path-{place}", "")
        row = Row(path, kinds.get(path, ""), is_used=f"use-{place}" in sent)
        for name in NAMES:
            setattr(row, name, sent.get(f"{name}-{place}", ""))
        rows.append(row)
    return Draft(
        rows,
        device=sent.get("device", ""),
        new_type=sent.get("new_type", "").strip(),
        new_number=sent.get("new_number", "").strip(),
        ts_path=sent.get("ts_path", ""),
    )


def _count(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) < len(str(10**6))
    return min(int(text), MAX_ROWS) if is_number else 0


def as_mapping(draft: Draft, dataloggers: Sequence[Datalogger]) -> dict[str, Any]:
    """Return the draft as the API takes it."""
    type_, number = draft.new_type, draft.new_number
    if draft.device != NEW:
        chosen = {str(row.pk): (row.type, row.number) for row in dataloggers}
        type_, number = chosen.get(draft.device, ("", ""))
    return {
        "datalogger": {"type": type_, "number": number},
        "ts_path": draft.ts_path,
        "values": [row.as_value() for row in draft.used],
    }


def mark(draft: Draft, problems: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Put each problem beside its row; return the others, by field."""
    others: dict[str, list[str]] = {}
    used = draft.used
    for name, found in problems.items():
        parts = name.split(".")
        if parts[0] == "values" and len(parts) > 1 and parts[1].isdigit():
            used[int(parts[1])].problems += found
        else:
            others.setdefault("values" if parts[0] == "values" else name, []).extend(
                found
            )
    return others
