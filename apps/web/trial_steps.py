"""How a test of a connection went, step by step, as the pages show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.core.errors import DomainError
from apps.sites import trials
from apps.sites.models import MqttConnection
from apps.sites.trial_words import name_of
from apps.web.formats import number_text


@dataclass(frozen=True, slots=True)
class Step:
    """`ok` is None for a step that was skipped; `days` are those of a certificate."""

    label: str
    ok: bool | None
    ms: str
    detail: str
    days: int | None
    refused_filters: tuple[str, ...]

    @property
    def tone(self) -> str:
        return "grey" if self.ok is None else "green" if self.ok else "red"


@dataclass(frozen=True, slots=True)
class Tried:
    """The whole test: its steps, or why it could not be made."""

    ok: bool
    steps: tuple[Step, ...] = ()
    problem: str = ""


def tried(connection: MqttConnection, given: trials.Given) -> Tried:
    """Have settings tried by the site's worker; takes up to 20 s."""
    try:
        result = trials.run(connection, given)
    except DomainError as error:
        return Tried(ok=False, problem=error.message)
    steps = tuple(_step(step) for step in result["steps"])
    return Tried(ok=bool(result["ok"]), steps=steps)


def _step(step: dict[str, Any]) -> Step:
    certificate = step.get("certificate") or {}
    filters = step.get("filters") or []
    return Step(
        label=name_of(step["name"]),
        ok=step["ok"],
        ms="" if step["ok"] is None else number_text(round(step["ms"], 1)),
        detail=step["detail"],
        days=certificate.get("days_left"),
        refused_filters=tuple(each["filter"] for each in filters if not each["ok"]),
    )
