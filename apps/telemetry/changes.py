"""When a sensor that says texts said another one, the newest first."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db import connection

from apps.telemetry.series import Range


class Change(NamedTuple):
    """From this time (aware UTC) on it said this."""

    at: datetime
    value: str


# Downwards along the key: with a limit the server stops where it has enough.
_CHANGES = """
SELECT measured_at, text FROM (
    SELECT measured_at, text, lead(text) OVER newest_first AS before
    FROM telemetry_reading
    WHERE sensor_id = %s AND text IS NOT NULL {bounds}
    WINDOW newest_first AS (ORDER BY measured_at DESC, text DESC)
) AS told
WHERE before IS DISTINCT FROM text
ORDER BY measured_at DESC, text DESC LIMIT %s
"""


def newest(span: Range, *, limit: int) -> tuple[list[Change], bool]:
    """Return the newest changes of one sensor, and whether there are older ones.

    The first text of the range counts as one: what was before is not looked at.

    Args:
        span: of one sensor; [start, end), None leaves that side open.
        limit: of changes.
    """
    [sensor_id] = span.sensor_ids
    bounds, values = "", []
    for sign, moment in ((">=", span.start), ("<", span.end)):
        if moment is not None:
            bounds += f" AND measured_at {sign} %s"
            values.append(moment)
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES.format(bounds=bounds), [sensor_id, *values, limit + 1])
        found = [Change(*row) for row in cursor.fetchall()]
    return found[:limit], len(found) > limit
