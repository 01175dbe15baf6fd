"""Writes readings into the history and brings the current values forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connection

from apps.devices.updates import MissingRowError
from apps.telemetry import sqlarrays


@dataclass(slots=True)
class Row:
    """A reading on its way; `entry` is its message's place in the batch."""

    sensor_id: int
    measured_us: int
    received_us: int
    value: float | None
    text: str | None
    flags: int
    entry: int
    is_history: bool


class Moved(NamedTuple):
    """A sensor whose current value is another now."""

    sensor_id: int
    value: float | str | None
    at_us: int
    entry: int


def insert_readings(rows: Sequence[Row]) -> set[int]:
    """Insert the history; return the entries of which nothing was new."""
    history = [row for row in rows if row.is_history]
    if not history:
        return set()
    texts = (
        sqlarrays.texts(row.text for row in history)
        if any(row.text is not None for row in history)
        else None
    )
    columns = [
        sqlarrays.numbers(row.sensor_id for row in history),
        sqlarrays.numbers(row.measured_us for row in history),
        sqlarrays.numbers(row.received_us for row in history),
        sqlarrays.numbers(row.value for row in history),
        texts,
        sqlarrays.numbers(row.flags for row in history),
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, columns)
        if cursor.rowcount == len(history):
            return set()
        cursor.execute(_WHICH, columns[:3])
        new = set(cursor.fetchall())
    stored = {row.entry for row in history if (row.sensor_id, row.received_us) in new}
    return {row.entry for row in history} - stored


# `unnest` fills a NULL array with NULLs beside the longer ones.
_INSERT = """
INSERT INTO telemetry_reading (sensor_id, measured_at, received_at, value, text, flags)
SELECT sensor_id, to_timestamp(measured_us / 1e6::float8),
    to_timestamp(received_us / 1e6::float8), value, text, flags
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::float8[], %s::text[],
    %s::smallint[])
    AS v(sensor_id, measured_us, received_us, value, text, flags)
ON CONFLICT DO NOTHING
"""

# Only after a conflict: which of the batch's rows are its own. A message's time of
# receipt differs from that of any other message of its connection.
_WHICH = """
SELECT DISTINCT v.sensor_id, v.received_us
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
    AS v(sensor_id, measured_us, received_us)
JOIN telemetry_reading r ON r.sensor_id = v.sensor_id
    AND r.measured_at = to_timestamp(v.measured_us / 1e6::float8)
    AND r.received_at = to_timestamp(v.received_us / 1e6::float8)
"""


def move_current(rows: Sequence[Row]) -> list[Moved]:
    """Bring the current values forward, never back; return those that moved.

    Raises:
        MissingRowError: a sensor was deleted since its id was learnt.
    """
    newest: dict[int, Row] = {}
    for row in rows:
        known = newest.get(row.sensor_id)
        if known is None or row.measured_us >= known.measured_us:
            newest[row.sensor_id] = row
    if not newest:
        return []
    ordered = [newest[sensor_id] for sensor_id in sorted(newest)]
    with connection.cursor() as cursor:
        cursor.execute(
            _CURRENT,
            [
                sqlarrays.numbers(row.sensor_id for row in ordered),
                sqlarrays.numbers(row.measured_us for row in ordered),
                sqlarrays.numbers(row.value for row in ordered),
                sqlarrays.texts(row.text for row in ordered),
            ],
        )
        result = cursor.fetchall()
    if len(result) != len(ordered):
        table = "devices_sensordevice"
        raise MissingRowError(table)
    return [
        Moved(
            sensor_id,
            row.value if row.text is None else row.text,
            row.measured_us,
            row.entry,
        )
        for sensor_id, row in (
            (found[0], newest[found[0]]) for found in result if found[1]
        )
    ]


_CURRENT = """
WITH v AS (
    SELECT id, to_timestamp(at_us / 1e6::float8) AS at, value, text
    FROM unnest(%s::bigint[], %s::bigint[], %s::float8[], %s::text[])
        AS u(id, at_us, value, text)
), moved AS (
    UPDATE devices_sensordevice s
    SET current_value = v.value, current_text = v.text, current_at = v.at
    FROM v WHERE s.id = v.id AND (s.current_at IS NULL OR s.current_at <= v.at)
    RETURNING s.id
)
SELECT s.id, moved.id IS NOT NULL
FROM v JOIN devices_sensordevice s ON s.id = v.id LEFT JOIN moved ON moved.id = s.id
"""
