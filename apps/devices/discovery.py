"""Keeps the topics that no decoder claims: seen when, how often, with what in them.

At most 5,000 a site: the least recently seen `new` ones make room, and
`ConnectionStats.topics_dropped` counts what had to go or found none.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import QuerySet

from apps.core.parsing import iso_z
from apps.devices.models import DiscoveredTopic
from apps.devices.payloads import describe

MAX_TOPICS = 5_000  # a site
KEPT_BYTES = 4_096  # of the last payload, in the database
DESCRIBED_BYTES = 16_384  # of it are looked at
RATE_OVER_S = 300  # the rate is that of the last minutes, not of all time

# One device that counts up a level of its topic makes a new topic a message. What is
# written of that, in the transactions that carry the readings, is bounded: 10,000 new
# topics a minute cost ingest 5 to 9 % of its speed, 2,000 a second 17 to 25 %
# (measured November 2026).
TOPICS_PER_S = 200
BURST = 400
MAX_WAITING = 1_000

OWN_STATUS = b"/backend/status"

Key = tuple[int, str]  # site id, topic


@dataclass(slots=True)
class Sighting:
    """What was seen of a topic since it was last noted; times as everywhere in µs."""

    count: int
    first_us: int
    last_us: int
    payload: bytes  # the first 16 KiB of the last one
    payload_size: int
    qos: int
    retain: bool

    def add(self, later: Sighting) -> None:
        self.count += later.count
        self.first_us = min(self.first_us, later.first_us)
        if later.last_us >= self.last_us:
            self.last_us = later.last_us
            self.payload, self.payload_size = later.payload, later.payload_size
            self.qos, self.retain = later.qos, later.retain


def see(
    sightings: dict[Key, Sighting],
    site_id: int,
    topic: bytes,
    payload: bytes,
    *,
    qos: int,
    retain: bool,
    at_us: int,
    kept: int = DESCRIBED_BYTES,
    most: int = sys.maxsize,
) -> bool:
    """Add one message to `sightings`; messages come in the order of receipt.

    Args:
        sightings: what to add to.
        site_id: whose connection it came over.
        topic: as on the wire.
        payload: as on the wire.
        qos: as on the wire.
        retain: as on the wire.
        at_us: our time of receipt.
        kept: bytes of the payload.
        most: topics that there is room for.

    Returns:
        Whether there was room.
    """
    if topic.endswith(OWN_STATUS):
        return True  # our own birth and will, or another backend's
    key = (site_id, topic_text(topic))
    known = sightings.get(key)
    if known is None:
        if len(sightings) >= most:
            return False
        sightings[key] = Sighting(
            1, at_us, at_us, payload[:kept], len(payload), qos, retain
        )
        return True
    known.count += 1
    known.last_us = at_us
    known.payload, known.payload_size = payload[:kept], len(payload)
    known.qos, known.retain = qos, retain
    return True


def topic_text(topic: bytes) -> str:
    """Return a topic as PostgreSQL can hold it; what is not UTF-8 is escaped."""
    return topic.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def topic_digest(topic: str) -> UUID:
    """Return what stands for a topic in an index: 16 bytes, however long it is."""
    named = topic.encode("utf-8", "backslashreplace")
    return UUID(bytes=hashlib.blake2b(named, digest_size=16).digest())


class Allowance:
    """Notes at most 200 topics a second of a site; the others wait, or are dropped.

    Used by one thread. A transaction that fails may have counted messages twice, or
    not: these are hints for people, not readings.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[int, tuple[float, float]] = {}  # site → (allowed, as of)
        self._waiting: dict[int, dict[Key, Sighting]] = {}

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def note(self, sightings: Mapping[Key, Sighting]) -> list[int]:
        """Note what may be noted now, of these and of those that waited.

        Returns:
            The ids of topics that are new.
        """
        if not sightings and not self._waiting:
            return []
        dropped: dict[int, int] = {}
        for key, sighting in sightings.items():
            waiting = self._waiting.setdefault(key[0], {})
            if key in waiting:
                waiting[key].add(sighting)
            elif len(waiting) < MAX_WAITING:
                waiting[key] = sighting
            else:
                dropped[key[0]] = dropped.get(key[0], 0) + 1
        return note(self._due(), dropped)

    def _due(self) -> dict[Key, Sighting]:
        now = self._clock()
        due: dict[Key, Sighting] = {}
        for site_id in list(self._waiting):
            waiting = self._waiting[site_id]
            left, as_of = self._left.get(site_id, (float(BURST), now))
            left = min(float(BURST), left + (now - as_of) * TOPICS_PER_S)
            taken = list(waiting)[: int(left)]
            for key in taken:
                due[key] = waiting.pop(key)
            self._left[site_id] = (left - len(taken), now)
            if not waiting:
                del self._waiting[site_id]
        return due


def note(
    sightings: Mapping[Key, Sighting], dropped: Mapping[int, int] | None = None
) -> list[int]:
    """Store what was seen, within the bound of each site.

    Call it inside a transaction. Rows are locked in order, so any number of threads
    may; the sites exist.

    Args:
        sightings: by (site id, topic); the topic as `topic_text` gives it.
        dropped: by site, topics that there was no room for before this call.

    Returns:
        The ids of topics that were not known before.
    """
    gone = {site: count for site, count in (dropped or {}).items() if count}
    found: list[int] = []
    if sightings:
        new = _upsert(sightings)
        sites = sorted({site_id for _, site_id in new})
        removed = _make_room(sites) if sites else []
        for _, site_id in removed:
            gone[site_id] = gone.get(site_id, 0) + 1
        lost = {topic_id for topic_id, _ in removed}
        found = [topic_id for topic_id, _ in new if topic_id not in lost]
    if gone:
        _count_dropped(gone)
    return found


def _upsert(sightings: Mapping[Key, Sighting]) -> list[tuple[int, int]]:
    """Return (id, site id) of the topics that are new."""
    rows = sorted(
        (site_id, str(topic_digest(topic)), topic, sighting)
        for (site_id, topic), sighting in sightings.items()
    )
    described = [
        describe(s.payload, is_cut=s.payload_size > len(s.payload)) for *_, s in rows
    ]
    seen = [sighting for *_, sighting in rows]
    columns: list[list[Any]] = [
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2].replace("\0", "\\x00") for row in rows],
        [s.first_us for s in seen],
        [s.last_us for s in seen],
        [s.count for s in seen],
        ["\\x" + s.payload[:KEPT_BYTES].hex() for s in seen],
        [s.payload_size for s in seen],
        [d.content_type for d in described],
        [
            orjson.dumps([{"path": p.path, "type": p.type} for p in d.paths]).decode()
            for d in described
        ],
        [s.qos for s in seen],
        [s.retain for s in seen],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT, [*columns, RATE_OVER_S, RATE_OVER_S])
        return [(row[0], row[1]) for row in cursor.fetchall() if row[2]]


# The rate is an exponentially weighted mean over five minutes. It stands still while
# nothing comes: it says how often a topic is sent, while it is. `xmax` is 0 in a row
# that was inserted.
_UPSERT = """
INSERT INTO devices_discoveredtopic AS t (site_id, digest, topic, first_seen, last_seen,
    message_count, rate_per_minute, last_payload, payload_size, content_type, paths,
    qos, retain, state)
SELECT site_id, digest, topic, to_timestamp(first_us / 1e6::float8),
    to_timestamp(last_us / 1e6::float8), count,
    CASE WHEN count > 1 THEN 60 * (count - 1) / GREATEST((last_us - first_us) / 1e6, 1)
    END,
    payload::bytea, size, content_type, paths::jsonb, qos, retain, 'new'
FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::text[], %s::int[], %s::text[], %s::text[], %s::smallint[],
    %s::boolean[])
    AS v(site_id, digest, topic, first_us, last_us, count, payload, size, content_type,
        paths, qos, retain)
ORDER BY site_id, digest
ON CONFLICT (site_id, digest) DO UPDATE SET
    first_seen = LEAST(t.first_seen, excluded.first_seen),
    last_seen = GREATEST(t.last_seen, excluded.last_seen),
    message_count = t.message_count + excluded.message_count,
    rate_per_minute = (
        SELECT CASE
            WHEN gap <= 0 THEN t.rate_per_minute
            WHEN t.rate_per_minute IS NULL
                THEN 60 * excluded.message_count / GREATEST(gap, 1)
            ELSE t.rate_per_minute * exp(-LEAST(gap / %s, 50))
                + 60 * excluded.message_count / gap * (1 - exp(-LEAST(gap / %s, 50)))
            END
        FROM (SELECT extract(epoch FROM excluded.last_seen - t.last_seen)::float8
            AS gap) AS since),
    last_payload = CASE WHEN excluded.last_seen >= t.last_seen
        THEN excluded.last_payload ELSE t.last_payload END,
    payload_size = CASE WHEN excluded.last_seen >= t.last_seen
        THEN excluded.payload_size ELSE t.payload_size END,
    content_type = CASE WHEN excluded.last_seen >= t.last_seen
        THEN excluded.content_type ELSE t.content_type END,
    paths = CASE WHEN excluded.last_seen >= t.last_seen
        THEN excluded.paths ELSE t.paths END,
    qos = CASE WHEN excluded.last_seen >= t.last_seen
        THEN excluded.qos ELSE t.qos END,
    retain = CASE WHEN excluded.last_seen >= t.last_seen
        THEN excluded.retain ELSE t.retain END
RETURNING t.id, t.site_id, t.xmax = 0
"""


def _make_room(site_ids: list[int]) -> list[tuple[int, int]]:
    """Remove what is too much; return (id, site id) of it.

    What another transaction has just seen again is locked, and skipped: it is not the
    least recently seen, and waiting for it could be a deadlock.
    """
    removed: list[tuple[int, int]] = []
    with connection.cursor() as cursor:
        for site_id in site_ids:
            cursor.execute(_MAKE_ROOM, [site_id, site_id, MAX_TOPICS])
            removed += cursor.fetchall()
    return removed


# An array is made once. `IN` may be planned as a loop that reads its rows anew for each
# row of the table; what is already deleted is skipped there, so all would go.
_MAKE_ROOM = """
DELETE FROM devices_discoveredtopic WHERE id = ANY(ARRAY(
    SELECT id FROM devices_discoveredtopic WHERE site_id = %s AND state = 'new'
    ORDER BY last_seen, id
    LIMIT GREATEST((SELECT count(*) FROM devices_discoveredtopic WHERE site_id = %s)
        - %s, 0)
    FOR UPDATE SKIP LOCKED
)) RETURNING id, site_id
"""


def _count_dropped(by_site: Mapping[int, int]) -> None:
    site_ids = sorted(by_site)
    with connection.cursor() as cursor:
        cursor.execute(_DROPPED, [site_ids, [by_site[site] for site in site_ids]])


_DROPPED = """
UPDATE sites_connectionstats s SET topics_dropped = s.topics_dropped + v.dropped
FROM (SELECT o.connection_id, u.dropped FROM unnest(%s::bigint[], %s::bigint[])
        AS u(site_id, dropped)
    JOIN sites_mqttconnection c ON c.site_id = u.site_id
    JOIN sites_connectionstats o ON o.connection_id = c.id
    ORDER BY o.connection_id FOR NO KEY UPDATE OF o) v
WHERE s.connection_id = v.connection_id
"""


def news_of(topic_ids: Iterable[int]) -> dict[int, list[dict[str, object]]]:
    """Return, by site, what an SSE event says of these topics."""
    return _news(DiscoveredTopic.objects.filter(id__in=list(topic_ids)))


def news_about(site_id: int, topics: Iterable[str]) -> list[dict[str, object]]:
    """Return what an SSE event says of a site's topics; newest first."""
    digests = [topic_digest(topic) for topic in topics]
    rows = DiscoveredTopic.objects.filter(site_id=site_id, digest__in=digests)
    return _news(rows).get(site_id, [])


def _news(rows: QuerySet[DiscoveredTopic]) -> dict[int, list[dict[str, object]]]:
    news: dict[int, list[dict[str, object]]] = {}
    for row in rows.defer("last_payload", "paths"):
        news.setdefault(row.site_id, []).append(
            {
                "id": row.pk,
                "topic": row.topic[:500],
                "message_count": row.message_count,
                "last_seen": iso_z(row.last_seen),
                "content_type": row.content_type,
                "state": row.state,
            }
        )
    return news
