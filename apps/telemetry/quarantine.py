"""Keeps the quarantine within its bounds."""

from __future__ import annotations

from django.db import connection

KEEP_DAYS = 7
KEEP_PER_SITE = 10_000
KEEP_REPLAYED_DAYS = 1  # their readings are stored; this is for whoever looks back

_PRUNE = """
DELETE FROM telemetry_quarantinedmessage WHERE id IN (
    SELECT id FROM (
        SELECT id, received_at, row_number() OVER (
            PARTITION BY site_id ORDER BY received_at DESC, id DESC) AS place
        FROM telemetry_quarantinedmessage
    ) AS ranked
    WHERE place > %s OR received_at < now() - make_interval(days => %s)
) OR replayed_at < now() - make_interval(days => %s)
"""


def prune() -> int:
    """Delete what is a week old, was replayed yesterday, or beyond 10,000 a site."""
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE, [KEEP_PER_SITE, KEEP_DAYS, KEEP_REPLAYED_DAYS])
        return int(cursor.rowcount)
