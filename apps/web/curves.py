"""The last hour of a value as an SVG path, with its gaps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median

WIDTH, HEIGHT = 120, 24  # the viewBox of `_sensor_card.html`
_SLACK = 2.5  # so much longer than usual between two values, and something is missing

Point = tuple[datetime, float]


def curve_path(points: Sequence[Point], start: datetime, end: datetime) -> str:
    """Return the path of values over time; "" if there are fewer than two.

    The highest value touches the top, the lowest the bottom; one that never changes
    runs through the middle. A gap is left open, a value alone between two is a dot.
    """
    if len(points) < 2:  # noqa: PLR2004 (see above)
        return ""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    span_s = (end - start).total_seconds()

    def place(point: Point) -> str:
        x = (point[0] - start).total_seconds() / span_s * WIDTH
        share = (point[1] - low) / (high - low) if high > low else 0.5
        return f"{x:.1f} {HEIGHT - 1 - share * (HEIGHT - 2):.1f}"

    steps = [(b[0] - a[0]).total_seconds() for a, b in pairwise(points)]
    longest = median(steps) * _SLACK
    path = "M" + place(points[0])
    for point, step in zip(points[1:], steps, strict=True):
        path += ("L" if step <= longest else "h.1M") + place(point)
    return path + "h.1"
