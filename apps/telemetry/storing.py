"""Writes readings into the history and brings the current values forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection

from apps.core.prepared import Prepared
from apps.devices.identities import MissingRowError
from apps.telemetry import sqlarrays

# A reading on its way: sensor id, measured_us, received_us, value, text, flags, and its
# message's place in the batch. A bare tuple: at 40,000 a second a class with names
# costs a tenth of the worker's time.
Row = tuple[int, int, int, float | None, str | None, int, int]


class Moved(NamedTuple):
    """A sensor whose current value is another now."""

    sensor_id: int
    value: float | str | None
    at_us: int
    entry: int


def insert_readings(rows: Sequence[Row]) -> set[int]:
    """Insert the history; return the entries of which nothing was new."""
    if not rows:
        return set()
    sensor_ids, measured, received, values, texts, flags, entries = zip(
        *rows, strict=True
    )
    columns = [
        sqlarrays.numbers(sensor_ids),
        sqlarrays.numbers(measured),
        sqlarrays.numbers(received),
        sqlarrays.numbers(values),
        sqlarrays.texts(texts) if any(texts) or "" in texts else None,
        sqlarrays.numbers(flags),
    ]
    with connection.cursor() as cursor:
        _INSERT.execute(cursor, columns)
        if cursor.rowcount == len(rows):
            return set()
        cursor.execute(_WHICH, columns[:3])
        new = set(cursor.fetchall())
    stored = {row[6] for row in rows if (row[0], row[2]) in new}
    return set(entries) - stored


# `unnest` fills a NULL array with NULLs beside the longer ones.
_INSERT = Prepared(
    "insert_readings",
    """
INSERT INTO telemetry_reading (sensor_id, measured_at, received_at, value, text, flags)
SELECT sensor_id, to_timestamp(measured_us / 1e6::float8),
    to_timestamp(received_us / 1e6::float8), value, text, flags
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::float8[], %s::text[],
    %s::smallint[])
    AS v(sensor_id, measured_us, received_us, value, text, flags)
ON CONFLICT DO NOTHING
""",
)

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
        known = newest.get(row[0])
        if known is None or row[1] >= known[1]:
            newest[row[0]] = row
    if not newest:
        return []
    ordered = [newest[sensor_id] for sensor_id in sorted(newest)]
    sensor_ids, measured, _, values, texts, _, _ = zip(*ordered, strict=True)
    with connection.cursor() as cursor:
        _CURRENT.execute(
            cursor,
            [
                sqlarrays.numbers(sensor_ids),
                sqlarrays.numbers(measured),
                sqlarrays.numbers(values),
                sqlarrays.texts(texts),
            ],
        )
        result = cursor.fetchall()
    if len(result) != len(ordered):
        table = "devices_sensordevice"
        raise MissingRowError(table)
    return [_moved(newest[sensor_id]) for sensor_id, has_moved in result if has_moved]


def _moved(row: Row) -> Moved:
    sensor_id, measured_us, _, value, text, _, entry = row
    return Moved(sensor_id, value if text is None else text, measured_us, entry)


_CURRENT = Prepared(
    "move_current",
    """
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
""",
)
