"""What a benchmark found: numbers with their units, and whether a goal was met."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One measured number.

    Args:
        what: in words, one line.
        value: in `unit`.
        unit: as printed; may be empty for a ratio or a count.
        at_least: the goal, where more is better.
        at_most: the goal, where less is better.
        note: what one has to know to read the number.
    """

    what: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the goal was reached; True without a goal."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is None or self.value <= self.at_most

    @property
    def goal(self) -> str:
        if self.at_least is not None:
            return f">= {number(self.at_least)}"
        return "" if self.at_most is None else f"<= {number(self.at_most)}"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        mark = "" if not self.goal else ("reached" if self.is_met else "MISSED")
        shown = f"{number(self.value)} {self.unit}".strip()
        return self.what, shown, f"{self.goal} {mark}".strip(), self.note


def number(value: float) -> str:
    """Return three digits of it, or all before the point."""
    if not math.isfinite(value):
        return "none"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(results: Iterable[Result]) -> str:
    """Return a Markdown table, aligned to be read as it is."""
    rows: list[Sequence[str]] = [("measured", "value", "goal", "note")]
    rows += [result.cells for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
    return "| " + " | ".join(cells) + " |"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all does not exceed; infinite for none."""
    if not values:
        return float("inf")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
