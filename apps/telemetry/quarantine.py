"""Keeps the quarantine within its bounds.

A site at a time, a slice at a time: a broken device may fill millions of rows in an
hour. One statement for all took longer than a statement may once a hundred sites had
reached their bound (over 150 s; a slice takes 0.1 s), so nothing was deleted any more
(measured November 2026).
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection

from apps.core import sqlprune
from apps.sites.models import Site

KEEP_DAYS = 7
KEEP_PER_SITE = 10_000
KEEP_REPLAYED_DAYS = 1  # their readings are stored; this is for whoever looks back
SLICE = 5_000


def prune() -> int:
    """Delete what is a week old, was replayed yesterday, or beyond 10,000 a site."""
    sites = Site.objects.order_by("pk").values_list("pk", flat=True)
    return sum(_prune_too_many(site) + _prune_too_old(site) for site in sites)


_NEWEST_TOO_MANY = """
SELECT received_at, id FROM telemetry_quarantinedmessage WHERE site_id = %s
ORDER BY received_at DESC, id DESC OFFSET %s LIMIT 1
"""

# From the oldest on, each slice where the last one ended: what was deleted stays in the
# index for a while, and is not walked through again.
_SLICE = """
WITH gone AS (
    DELETE FROM telemetry_quarantinedmessage WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM telemetry_quarantinedmessage
        WHERE site_id = %s AND received_at >= %s AND (received_at, id) <= (%s, %s)
        ORDER BY received_at LIMIT %s))
    RETURNING received_at
)
SELECT count(*), max(received_at) FROM gone
"""


def _prune_too_many(site_id: int) -> int:
    total = 0
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_TOO_MANY, [site_id, KEEP_PER_SITE])
        newest = cursor.fetchone()
        since = datetime.min.replace(tzinfo=UTC)
        while newest is not None:
            cursor.execute(_SLICE, [site_id, since, *newest, SLICE])
            deleted, since = cursor.fetchone()
            total += deleted
            if deleted < SLICE:
                break
    return total


_TOO_OLD = """site_id = %s AND (received_at < now() - make_interval(days => %s)
    OR replayed_at < now() - make_interval(days => %s))"""


def _prune_too_old(site_id: int) -> int:
    return sqlprune.delete(
        "telemetry_quarantinedmessage",
        _TOO_OLD,
        [site_id, KEEP_DAYS, KEEP_REPLAYED_DAYS],
    )
