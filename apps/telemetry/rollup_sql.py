"""The SQL of the rollups: figures of readings, figures of figures, and their storing.

Put together from constants of this file and the names of our own tables.
"""

from __future__ import annotations

COLUMNS = (
    "n",
    "numbers",
    "sum",
    "min",
    "max",
    "first",
    "last",
    "first_text",
    "last_text",
)

# Larger numbers are never added: sums of them would overflow, which PostgreSQL refuses
# with an error, and a bucket that cannot be computed would hold up all others.
HUGE = "1e290"
_FINITE = "value > '-Infinity' AND value < 'Infinity'"
_ORDER = "ORDER BY measured_at, value, text"  # the order of the readings' key

OF_READINGS = f"""
    count(*)::integer AS n,
    (count(*) FILTER (WHERE {_FINITE}))::integer AS numbers,
    CASE WHEN bool_or({_FINITE} AND abs(value) > {HUGE}) THEN NULL
        ELSE sum(value) FILTER (WHERE {_FINITE} AND abs(value) <= {HUGE}) END AS sum,
    min(value) FILTER (WHERE {_FINITE}) AS min,
    max(value) FILTER (WHERE {_FINITE}) AS max,
    (array_agg(value {_ORDER}))[1] AS first,
    (array_agg(value {_ORDER}))[count(*)] AS last,
    (array_agg(text {_ORDER}))[1] AS first_text,
    (array_agg(text {_ORDER}))[count(*)] AS last_text
"""

OF_ROLLUPS = """
    sum(n)::integer AS n,
    sum(numbers)::integer AS numbers,
    CASE WHEN bool_or(numbers > 0 AND sum IS NULL) THEN NULL ELSE sum(sum) END AS sum,
    min(min) AS min,
    max(max) AS max,
    (array_agg(first ORDER BY at))[1] AS first,
    (array_agg(last ORDER BY at))[count(*)] AS last,
    (array_agg(first_text ORDER BY at))[1] AS first_text,
    (array_agg(last_text ORDER BY at))[count(*)] AS last_text
"""

# One reading, or one bucket, as a row of figures.
AS_FIGURES = f"""
    1 AS n,
    ({_FINITE})::integer AS numbers,
    CASE WHEN {_FINITE} AND abs(value) <= {HUGE} THEN value END AS sum,
    CASE WHEN {_FINITE} THEN value END AS min,
    CASE WHEN {_FINITE} THEN value END AS max,
    value AS first,
    value AS last,
    text AS first_text,
    text AS last_text
"""


def upsert(table: str, select: str) -> str:
    """Return the statement that stores buckets; one that counts less replaces none."""
    columns = ", ".join(COLUMNS)
    values = ", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS)
    return (
        f"INSERT INTO {table} AS old (sensor_id, at, {columns}) {select} "
        f"ON CONFLICT (sensor_id, at) DO UPDATE SET {values} WHERE EXCLUDED.n > old.n"
    )


def source(table: str) -> tuple[str, str]:
    """Return the column of time and the figures of a table."""
    if table == "telemetry_reading":
        return "measured_at", OF_READINGS
    return "at", OF_ROLLUPS


def some_buckets(target: str, table: str) -> str:
    """Return the statement that computes given buckets of `target` from `table`.

    Parameters: arrays of sensors, of starts and of ends (seconds since 1970), then the
    first start and the last end, so that only the partitions between are looked at.
    """
    time, figures = source(table)
    return upsert(
        target,
        "SELECT d.sensor_id, d.since, f.* "  # noqa: S608 (our own names)
        "FROM (SELECT sensor_id, to_timestamp(since) AS since, to_timestamp(until) "
        "    AS until FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) "
        "    AS u(sensor_id, since, until)) d "
        f"CROSS JOIN LATERAL (SELECT {figures} FROM {table} r "
        f"    WHERE r.sensor_id = d.sensor_id "
        f"    AND r.{time} >= d.since AND r.{time} < d.until "
        f"    AND r.{time} >= to_timestamp(%s) AND r.{time} < to_timestamp(%s) "
        "    HAVING count(*) > 0) f",
    )


def all_buckets(target: str, table: str, width: str) -> str:
    """Return the statement that computes all buckets of a fixed width in a range.

    Parameters: start and end.
    """
    time, figures = source(table)
    return upsert(
        target,
        f"SELECT sensor_id, date_bin('{width}', {time}, 'epoch'), {figures} "  # noqa: S608 (our own names)
        f"FROM {table} WHERE {time} >= %s AND {time} < %s GROUP BY 1, 2",
    )
