"""The readings, partitioned by day, in plain SQL (docs/decisions/004)."""

from django.db import migrations

CREATE = """
CREATE TABLE telemetry_reading (
    sensor_id bigint NOT NULL,
    measured_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    value double precision,
    text text,
    flags smallint NOT NULL DEFAULT 0
) PARTITION BY RANGE (measured_at);

-- The key: a repeat is stored once; two different values at one time are both kept.
CREATE UNIQUE INDEX telemetry_reading_key
    ON telemetry_reading (sensor_id, measured_at, value, text) NULLS NOT DISTINCT;

-- Days outside the window of day partitions (older than the retention).
CREATE TABLE telemetry_reading_default PARTITION OF telemetry_reading DEFAULT;

-- Current values are rewritten by every batch: room on the page keeps it heap-only.
ALTER TABLE devices_sensordevice SET (fillfactor = 70);
ALTER TABLE devices_datalogger SET (fillfactor = 70);
ALTER TABLE devices_gateway SET (fillfactor = 70);
ALTER TABLE sites_connectionstats SET (fillfactor = 50);
"""

DROP = "DROP TABLE telemetry_reading"


class Migration(migrations.Migration):
    dependencies = [
        ("telemetry", "0001_initial"),
        ("devices", "0001_initial"),
        ("sites", "0001_initial"),
    ]

    operations = [migrations.RunSQL(CREATE, DROP)]
