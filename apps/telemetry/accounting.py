"""Counts what became of each connection's messages, in the batch's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection

from apps.core.prepared import Prepared
from apps.sites import deliveries
from apps.telemetry.redelivery import Packed


@dataclass(slots=True)
class Tally:
    """What became of a connection's messages in one batch."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0
    last_us: int = 0


def write_tallies(tallies: Mapping[int, Tally], delivered: Packed) -> None:
    """Add the tallies to the connections' rows, and what they delivered.

    Args:
        tallies: by connection; the connections exist.
        delivered: what they remember; its connections have tallies.
    """
    newest_us = {key: tally.last_us for key, tally in tallies.items()}
    large = {
        key: entries
        for key, entries in delivered.every.items()
        if len(entries) >= deliveries.SEALED_BYTES
    }
    ids = sorted(tallies)
    counts = [tallies[connection_id] for connection_id in ids]
    few = ["" if key in large else delivered.every.get(key, b"").hex() for key in ids]
    with connection.cursor() as cursor:
        _TALLY.execute(
            cursor,
            [
                ids,
                [tally.received for tally in counts],
                [tally.stored for tally in counts],
                [tally.duplicate for tally in counts],
                [tally.quarantined for tally in counts],
                [tally.dropped for tally in counts],
                [tally.last_us or None for tally in counts],
                few,
                deliveries.SEALED_BYTES,
            ],
        )
        full = [row[0] for row in cursor.fetchall() if row[1]]
    if full:
        deliveries.seal(full, newest_us)
    deliveries.add(large, newest_us)
    deliveries.add(delivered.redelivered, newest_us, are_redeliveries=True)


_TALLY = Prepared(
    "tally",
    """
INSERT INTO sites_connectionstats AS s (connection_id, received, stored, duplicate,
    quarantined, dropped, last_message_at, recent)
SELECT id, received, stored, duplicate, quarantined, dropped,
    to_timestamp(last_us / 1e6::float8), decode(recent, 'hex')
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::text[])
    AS v(id, received, stored, duplicate, quarantined, dropped, last_us, recent)
ON CONFLICT (connection_id) DO UPDATE SET
    received = s.received + excluded.received,
    stored = s.stored + excluded.stored,
    duplicate = s.duplicate + excluded.duplicate,
    quarantined = s.quarantined + excluded.quarantined,
    dropped = s.dropped + excluded.dropped,
    last_message_at = GREATEST(s.last_message_at, excluded.last_message_at),
    recent = s.recent || excluded.recent
RETURNING connection_id, octet_length(recent) >= %s::int
""",
)
