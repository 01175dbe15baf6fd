"""A small curve as an SVG path, fifteen steps high. Pure."""

from __future__ import annotations

from collections.abc import Sequence

POINTS, STEP, HEIGHT = 30, 2, 16  # the viewBox of `_site_row.html`: 58 by 16


def spark_path(values: Sequence[int]) -> str:
    """Return the path of the last values, the newest at the right edge.

    The highest value touches the top, zero the bottom; two points make a line.
    """
    values = values[-POINTS:]
    if len(values) < 2:  # noqa: PLR2004 (see above)
        return ""
    top = max(*values, 1)
    first = POINTS - len(values)
    points = [
        f"{(first + place) * STEP} {HEIGHT - 1 - round(value * (HEIGHT - 2) / top)}"
        for place, value in enumerate(values)
    ]
    return "M" + "L".join(points)
