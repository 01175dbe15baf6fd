"""Rollups of the readings, and what of them is due, in plain SQL (apps.telemetry.rollups)."""

from django.db import migrations

# One minute, one hour (both of UTC), one local day of the site. `n` counts all readings,
# `numbers` the finite numbers among them, of which are sum, min and max. `sum` is NULL
# where a number is too large to be added. First and last are a number or a text.
COLUMNS = """
    sensor_id bigint NOT NULL,
    at timestamptz NOT NULL,
    n integer NOT NULL,
    numbers integer NOT NULL,
    sum double precision,
    min double precision,
    max double precision,
    first double precision,
    last double precision,
    first_text text,
    last_text text
"""

# The key in this order: a chart is one sensor over a range.
CREATE = "".join(
    f"""
CREATE TABLE telemetry_rollup_{level} ({COLUMNS}) PARTITION BY RANGE (at);
CREATE UNIQUE INDEX telemetry_rollup_{level}_key
    ON telemetry_rollup_{level} (sensor_id, at);
"""
    for level in ("1m", "1h", "1d")
) + """
-- The minutes to be computed anew: one row a batch, written with its readings. `pairs`
-- are 64-bit numbers of this machine's byte order: sensor << 26 | minute since 1970.
CREATE TABLE telemetry_rollup_due (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT now(),
    oldest_minute integer NOT NULL,
    pairs bytea NOT NULL
);
-- Rows live for seconds: compressing them would cost more than it saves.
ALTER TABLE telemetry_rollup_due ALTER pairs SET STORAGE EXTERNAL;

-- The zone whose days a sensor's 1d rollups are.
CREATE TABLE telemetry_rollup_zone (
    sensor_id bigint PRIMARY KEY,
    zone text NOT NULL
);
"""

DROP = """
DROP TABLE telemetry_rollup_1m, telemetry_rollup_1h, telemetry_rollup_1d,
    telemetry_rollup_due, telemetry_rollup_zone;
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0003_mappings")]

    operations = [migrations.RunSQL(CREATE, DROP)]
