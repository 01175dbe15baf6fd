"""Who is there: changes of presence that no device told us, and the periods of all.

Whatever changes a datalogger's presence writes its period in the same transaction,
while it holds the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from apps.devices.models import DEFAULT_INTERVAL_S, OFFLINE_FACTOR
from apps.sites.leases import LEASE_TTL_S


class PresenceChange(NamedTuple):
    site_id: int
    kind: str  # "gateway" or "datalogger"
    device_id: int
    presence: str
    cause: str = ""


class Gone(NamedTuple):
    """A gateway that went offline: since when, and how far its last sign reaches.

    A datalogger that was heard after `heard_until` has another way to us.
    """

    gateway_id: int
    since: datetime
    heard_until: datetime


def silence_sql(device: str, interval: str) -> str:
    """Return SQL for the seconds of silence after which this device is offline."""
    return (
        f"COALESCE({device}.offline_after_s, "
        f"{OFFLINE_FACTOR} * COALESCE({interval}, {DEFAULT_INTERVAL_S}))"
    )


# The owner of a link may have died without a word: its lease shows when it was last
# seen. Until the reconcile has written that down, silence proves nothing any more.
_LEASE = """LATERAL (
    SELECT CASE owner WHEN '' THEN expires_at
        ELSE expires_at - make_interval(secs => %(lease_ttl)s) END AS left_at
    FROM sites_shardlease
    WHERE shard = c.site_id %% %(shards)s AND expires_at < clock_timestamp()
) dead ON true"""

# The row of a connection follows what its owner reports, by a second at most (measured
# under load 2026-11-22): a device heard meanwhile shows that the link is up again.
_ROW_LAGS_S = 10

# While our own link is not up nothing is known about a device; silence proves nothing.
# A break that was over before this looked counts for the devices not heard since.
_BLIND = f"""
WITH gap AS MATERIALIZED (
    SELECT c.site_id, c.status = 'connected' AS is_over,
        c.status IN ('connecting', 'error') AND dead.left_at IS NULL AS may_be_over,
        CASE WHEN c.status = 'connected' THEN event.at
            ELSE LEAST(COALESCE(event.at, c.status_changed_at), dead.left_at)
            END AS since
    FROM sites_mqttconnection c
    LEFT JOIN {_LEASE}
    LEFT JOIN LATERAL (
        SELECT at FROM sites_connectionevent e WHERE e.connection_id = c.id
        AND e.old_status = 'connected' AND e.new_status <> 'connected'
        AND EXISTS (SELECT 1 FROM {{table}} d
            WHERE d.site_id = c.site_id AND d.presence <> 'unknown')
        ORDER BY e.at DESC LIMIT 1
    ) event ON true
    WHERE (%(site)s::bigint IS NULL OR c.site_id = %(site)s)
      AND (c.status <> 'connected'
        OR c.last_connected_at > %(now)s - interval '10 minutes')
), found AS (
    SELECT d.id, GREATEST(d.presence_since, gap.since,
        CASE d.presence WHEN 'online' THEN d.last_seen_at END) AS since
    FROM {{table}} d JOIN gap ON gap.site_id = d.site_id
    CROSS JOIN LATERAL (SELECT GREATEST(d.presence_since, d.last_seen_at) AS at) told
    WHERE d.presence <> 'unknown' AND (told.at < gap.since OR NOT (gap.is_over
        OR (gap.may_be_over AND told.at > %(now)s - interval '{_ROW_LAGS_S} seconds')))
    ORDER BY d.id FOR NO KEY UPDATE OF d
)
UPDATE {{table}} d
SET presence = 'unknown', presence_since = found.since, offline_cause = ''
FROM found WHERE d.id = found.id
RETURNING d.id, d.site_id, d.presence, d.offline_cause, d.presence_since, d.last_seen_at
"""  # noqa: S608 (put together from constants of this file)

# The deadline counts from the last message, or from when we could hear again: a break
# of our own link may be over before any check has seen it. A row that is being written
# is being heard, so it is left to the next check.
_SILENT = f"""
WITH found AS (
    SELECT d.id, {{cause}} AS cause, GREATEST(d.presence_since, d.offline_after,
        c.last_connected_at + limits.silence) AS since
    FROM {{table}} d
    JOIN sites_mqttconnection c ON c.site_id = d.site_id
    LEFT JOIN {_LEASE}
    CROSS JOIN LATERAL (SELECT make_interval(
        secs => {silence_sql("d", "d.interval_s")}) AS silence) limits
    WHERE (%(site)s::bigint IS NULL OR c.site_id = %(site)s)
      AND c.status = 'connected' AND dead.left_at IS NULL
      AND c.site_id %% %(shards)s <> ALL(%(waiting)s::int[])
      AND d.presence <> 'offline' AND d.offline_after < %(now)s
      AND COALESCE(c.last_connected_at, '-infinity') + limits.silence < %(now)s
    ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE {{table}} d
SET presence = 'offline', presence_since = found.since, offline_cause = found.cause
FROM found WHERE d.id = found.id
RETURNING d.id, d.site_id, d.presence, d.offline_cause, d.presence_since, d.last_seen_at
"""  # noqa: S608

# A datalogger's silence that was noticed first has the same cause if nothing came
# through the gateway since.
_WITH_GATEWAY = """
WITH found AS (
    SELECT d.id, CASE d.presence WHEN 'offline' THEN d.presence_since
        ELSE GREATEST(gone.since, d.presence_since) END AS since
    FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[])
        AS gone(gateway_id, since, heard_until)
    JOIN devices_gateway g ON g.id = gone.gateway_id
    JOIN devices_datalogger d ON d.gateway_id = g.id
    WHERE d.last_seen_at <= gone.heard_until AND (d.presence <> 'offline'
        OR (d.offline_cause = 'silence' AND d.presence_since > g.last_seen_at))
    ORDER BY d.id FOR NO KEY UPDATE OF d
)
UPDATE devices_datalogger d
SET presence = 'offline', presence_since = found.since, offline_cause = 'gateway'
FROM found WHERE d.id = found.id
RETURNING d.id, d.site_id, d.presence, d.offline_cause
"""

_GATEWAY = "'silence'"
_DATALOGGER = """CASE WHEN EXISTS (SELECT 1 FROM devices_gateway g
        WHERE g.id = d.gateway_id AND g.presence = 'offline')
        THEN 'gateway' ELSE 'silence' END"""


def turn_unknown(now: datetime, site_id: int | None = None) -> list[PresenceChange]:
    """Turn devices unknown that we cannot hear, since the moment we could not."""
    gateways = _run(_BLIND, "devices_gateway", now, site_id)
    dataloggers = _run(_BLIND, "devices_datalogger", now, site_id)
    write_periods([row[0] for row in dataloggers])
    return _changes("gateway", gateways) + _changes("datalogger", dataloggers)


def turn_offline(
    now: datetime, site_id: int | None = None, *, waiting: Sequence[int] = ()
) -> list[PresenceChange]:
    """Turn devices offline whose deadline has passed, since that deadline.

    A gateway takes the dataloggers along that were not heard after it.

    Args:
        now: the present.
        site_id: of this site only.
        waiting: shards to leave alone: what their devices said is on its way.
    """
    find = partial(_run, _SILENT, now=now, site_id=site_id, waiting=waiting)
    gateways = find("devices_gateway", cause=_GATEWAY)
    carried = take_along([Gone(r[0], r[4], r[5] or r[4]) for r in gateways])
    dataloggers = find("devices_datalogger", cause=_DATALOGGER)
    write_periods([row[0] for row in dataloggers])
    return [
        *_changes("gateway", gateways),
        *carried,
        *_changes("datalogger", dataloggers),
    ]


def take_along(gone: Sequence[Gone]) -> list[PresenceChange]:
    """Turn the dataloggers of gateways that went offline offline with them."""
    if not gone:
        return []
    with connection.cursor() as cursor:
        columns = [list(column) for column in zip(*gone, strict=True)]
        cursor.execute(_WITH_GATEWAY, columns)
        rows = cursor.fetchall()
    write_periods([row[0] for row in rows])
    return _changes("datalogger", rows)


def write_periods(datalogger_ids: list[int]) -> None:
    """Bring the open periods of these dataloggers in step with their rows.

    Call it in the transaction that changed the rows, while it holds them.
    """
    if not datalogger_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE devices_presenceperiod p SET "
            "ended_at = CASE WHEN p.presence <> d.presence "
            "    THEN GREATEST(d.presence_since, p.started_at) END, "
            "cause = CASE WHEN p.presence <> d.presence "
            "    THEN p.cause ELSE d.offline_cause END "
            "FROM devices_datalogger d WHERE d.id = ANY(%s) AND d.id = p.datalogger_id "
            "AND p.ended_at IS NULL "
            "AND (p.presence, p.cause) <> (d.presence, d.offline_cause)",
            [datalogger_ids],
        )
        cursor.execute(
            "INSERT INTO devices_presenceperiod "
            "(datalogger_id, presence, cause, started_at) "
            "SELECT id, presence, offline_cause, presence_since "
            "FROM devices_datalogger d WHERE id = ANY(%s) "
            "ON CONFLICT (datalogger_id) WHERE ended_at IS NULL DO NOTHING",
            [datalogger_ids],
        )


def _run(
    sql: str,
    table: str,
    now: datetime,
    site_id: int | None,
    *,
    cause: str = "",
    waiting: Sequence[int] = (),
) -> list[tuple]:  # type: ignore[type-arg]
    with connection.cursor() as cursor:
        cursor.execute(
            sql.format(table=table, cause=cause),
            {
                "now": now,
                "site": site_id,
                "shards": settings.MQTT_SHARDS,
                "waiting": list(waiting),
                "lease_ttl": LEASE_TTL_S,
            },
        )
        rows: list[tuple] = cursor.fetchall()  # type: ignore[type-arg]
    return rows


def _changes(kind: str, rows: Sequence[tuple]) -> list[PresenceChange]:  # type: ignore[type-arg]
    return [
        PresenceChange(site_id, kind, device_id, presence, cause)
        for device_id, site_id, presence, cause, *_ in rows
    ]
