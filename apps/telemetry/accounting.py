"""Counts what became of each connection's messages, in the batch's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection


@dataclass(slots=True)
class Tally:
    """What became of a connection's messages in one batch."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0
    last_us: int = 0


def write_tallies(tallies: Mapping[int, Tally], delivered: Mapping[int, bytes]) -> None:
    """Add the tallies to the connections' rows.

    Args:
        tallies: by connection; the connections exist.
        delivered: by connection, the packed window of what it delivered last.
    """
    ids = sorted(tallies)
    counts = [tallies[connection_id] for connection_id in ids]
    windows = [
        "\\x" + delivered[key].hex() if key in delivered else None for key in ids
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _TALLY,
            [
                ids,
                [tally.received for tally in counts],
                [tally.stored for tally in counts],
                [tally.duplicate for tally in counts],
                [tally.quarantined for tally in counts],
                [tally.dropped for tally in counts],
                [tally.last_us or None for tally in counts],
                windows,
            ],
        )


_TALLY = """
INSERT INTO sites_connectionstats AS s (connection_id, received, stored, duplicate,
    quarantined, dropped, last_message_at, delivered)
SELECT id, received, stored, duplicate, quarantined, dropped,
    to_timestamp(last_us / 1e6::float8), COALESCE(delivered::bytea, '')
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::text[])
    AS v(id, received, stored, duplicate, quarantined, dropped, last_us, delivered)
ON CONFLICT (connection_id) DO UPDATE SET
    received = s.received + excluded.received,
    stored = s.stored + excluded.stored,
    duplicate = s.duplicate + excluded.duplicate,
    quarantined = s.quarantined + excluded.quarantined,
    dropped = s.dropped + excluded.dropped,
    last_message_at = GREATEST(s.last_message_at, excluded.last_message_at),
    delivered = CASE WHEN excluded.delivered = '' THEN s.delivered
        ELSE excluded.delivered END
"""
