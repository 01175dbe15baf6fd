"""Keeps what each connection delivered, however much a broker may have on its way.

What an entry is, `apps.telemetry.redelivery` alone knows. Small batches of a connection
are collected in its row of statistics, which is rewritten by every batch anyway; from
`SEALED_BYTES` on they become a row of `Delivered`. So two thousand quiet connections
cost no row a message, and a busy one rewrites nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

ENTRY_BYTES = 16
SEALED_BYTES = 64 * ENTRY_BYTES  # more than a 3.1.1 window of 20; fits into the page

# How much is kept of each connection: everything of its last minutes, in which
# PUBACKs may get lost before a dead link is noticed; these many entries however old
# they are; and never more than these. There are 65,535 packet ids.
KEPT_US = 900 * 1_000_000
KEPT_ALWAYS = 4_096 * ENTRY_BYTES
KEPT_AT_MOST = 100_000 * ENTRY_BYTES
# Redeliveries are few. Their originals may lie in the spool of a host that is down.
KEPT_REDELIVERIES_US = 7 * 86_400 * 1_000_000

PRUNE_ONE_IN = 32  # rows; by chance, so that nothing has to be remembered for it


def load_newest(connection_ids: Sequence[int], most: int) -> dict[int, bytes]:
    """Return the entries of these connections in no certain order.

    Args:
        connection_ids: whose.
        most: bytes of each.
    """
    ids = list(connection_ids)
    return _load(_NEWEST + _RECENT, [ids, most, ids])


def load_all(connection_ids: Sequence[int]) -> dict[int, bytes]:
    """Return the entries of these connections in no certain order; some may repeat."""
    ids = list(connection_ids)
    return _load(_ALL + _RECENT, [ids, ids])


def _load(statement: str, parameters: list[Any]) -> dict[int, bytes]:
    found: dict[int, list[bytes]] = {}
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        for connection_id, entries in cursor.fetchall():
            found.setdefault(connection_id, []).append(bytes(entries))
    return {key: b"".join(pieces) for key, pieces in found.items()}


_NEWEST = """
SELECT connection_id, entries FROM (
    SELECT connection_id, entries, sum(octet_length(entries)) OVER (
        PARTITION BY connection_id ORDER BY newest_us DESC, id DESC) AS upto
    FROM sites_delivered
    WHERE connection_id = ANY(%s::bigint[]) AND NOT is_redelivery
) AS ranked WHERE upto <= %s
"""
_ALL = """
SELECT connection_id, entries FROM sites_delivered
WHERE connection_id = ANY(%s::bigint[])
"""
_RECENT = """
UNION ALL
SELECT connection_id, recent FROM sites_connectionstats
WHERE connection_id = ANY(%s::bigint[]) AND recent <> ''
"""


def add(
    delivered: Mapping[int, bytes],
    newest_us: Mapping[int, int],
    *,
    are_redeliveries: bool = False,
) -> None:
    """Make rows of what connections delivered; call it in the batch's transaction.

    Args:
        delivered: entries by connection.
        newest_us: by connection, the latest time in them.
        are_redeliveries: keep them for longer.
    """
    if not delivered:
        return
    ids = sorted(delivered)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sites_delivered "
            "(connection_id, newest_us, entries, is_redelivery) "
            "SELECT id, us, decode(entries, 'hex'), %s "
            "FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS v(id, us, entries)",
            [
                are_redeliveries,
                ids,
                [newest_us[connection_id] for connection_id in ids],
                [delivered[connection_id].hex() for connection_id in ids],
            ],
        )
    _prune_some(ids)


def seal(connection_ids: Sequence[int], newest_us: Mapping[int, int]) -> None:
    """Make rows of what was collected; the caller holds the rows of statistics."""
    ids = sorted(connection_ids)
    with connection.cursor() as cursor:
        cursor.execute(_SEAL, [ids, [newest_us[key] for key in ids]])
    _prune_some(ids)


_SEAL = """
WITH v AS (SELECT * FROM unnest(%s::bigint[], %s::bigint[]) AS v(id, us)),
sealed AS (
    INSERT INTO sites_delivered (connection_id, newest_us, entries)
    SELECT s.connection_id, v.us, s.recent
    FROM v JOIN sites_connectionstats s ON s.connection_id = v.id
)
UPDATE sites_connectionstats s SET recent = '' FROM v WHERE s.connection_id = v.id
"""


def _prune_some(connection_ids: Sequence[int]) -> None:
    due = [key for key in connection_ids if random.random() * PRUNE_ONE_IN < 1]  # noqa: S311 (no secret)
    if due:
        prune(due)


def prune(connection_ids: Sequence[int] | None = None) -> int:
    """Delete what is beyond the bounds, of these connections or of all."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM sites_delivered d USING ({_BEYOND}) AS b "  # noqa: S608 (constants)
            "WHERE d.id = b.id",
            _bounds(connection_ids),
        )
        return int(cursor.rowcount)


def count_prunable() -> int:
    """Return how many rows are beyond the bounds."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({_BEYOND}) AS b", _bounds(None))  # noqa: S608 (constants)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def _bounds(connection_ids: Sequence[int] | None) -> dict[str, Any]:
    return {
        "ids": None if connection_ids is None else list(connection_ids),
        "most": KEPT_AT_MOST,
        "always": KEPT_ALWAYS,
        "kept_us": KEPT_US,
        "redelivered_us": KEPT_REDELIVERIES_US,
    }


# `upto`: the bytes of a row and of all that are newer.
_BEYOND = """
SELECT id FROM (
    SELECT id, is_redelivery, octet_length(entries) AS own,
        max(newest_us) OVER (PARTITION BY connection_id) - newest_us AS age_us,
        sum(octet_length(entries)) OVER newest_first AS upto
    FROM sites_delivered
    WHERE %(ids)s::bigint[] IS NULL OR connection_id = ANY(%(ids)s::bigint[])
    WINDOW newest_first AS (
        PARTITION BY connection_id, is_redelivery ORDER BY newest_us DESC, id DESC)
) AS ranked
WHERE upto - own >= %(most)s
    OR (is_redelivery AND age_us > %(redelivered_us)s)
    OR (NOT is_redelivery AND upto - own >= %(always)s AND age_us > %(kept_us)s)
"""
