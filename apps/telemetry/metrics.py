"""The quarantine, and what waits on disks, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from django.db.models import Sum
from prometheus_client.core import Metric

from apps.core.metrics import gauge
from apps.telemetry.models import SpoolMark

# Counting millions of rows takes seconds; beyond this many PostgreSQL's estimate does.
_EXACT_UP_TO = 50_000
_COUNT = """
SELECT CASE WHEN reltuples > %s THEN reltuples::bigint
    ELSE (SELECT count(*) FROM telemetry_quarantinedmessage) END
FROM pg_class WHERE oid = 'telemetry_quarantinedmessage'::regclass
"""


def _left_behind() -> Iterator[Metric]:
    """Yield what waits on disks by what the database last heard of each.

    Of a worker that is there its own gauge says more; this one shows the disk of a host
    that never came back.
    """
    metric = gauge(
        "spool_left_messages", "On disk when the worker was last seen.", ["node"]
    )
    rows = SpoolMark.objects.filter(waiting__gt=0).values_list("node")
    for node, waiting in rows.annotate(Sum("waiting")):
        metric.add_metric([node], float(waiting))
    yield metric


def collect(redis_up: bool) -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [_EXACT_UP_TO])
        row = cursor.fetchone()
    yield from _left_behind()
    yield gauge(
        "quarantine_messages",
        "Messages kept that could not be understood (an estimate when very many).",
        value=row[0] if row else 0,
    )
