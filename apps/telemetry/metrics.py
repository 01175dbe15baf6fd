"""The quarantine, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client.core import Metric

from apps.core.metrics import gauge

# Counting millions of rows takes seconds; beyond this many PostgreSQL's estimate does.
_EXACT_UP_TO = 50_000
_COUNT = """
SELECT CASE WHEN reltuples > %s THEN reltuples::bigint
    ELSE (SELECT count(*) FROM telemetry_quarantinedmessage) END
FROM pg_class WHERE oid = 'telemetry_quarantinedmessage'::regclass
"""


def collect(redis_up: bool) -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [_EXACT_UP_TO])
        row = cursor.fetchone()
    yield gauge(
        "quarantine_messages",
        "Messages kept that could not be understood (an estimate when very many).",
        value=row[0] if row else 0,
    )
