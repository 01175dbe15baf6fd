"""The offline check: conditional UPDATEs, safe to repeat and to run twice at once."""

from __future__ import annotations

from datetime import datetime

from django.db import connection, transaction

from apps.core import events
from apps.devices.models import DEFAULT_INTERVAL_S, OFFLINE_FACTOR
from apps.devices.updates import PresenceChange, write_periods

MANY_CHANGES = 20

# While our own link is not up nothing is known about a device; silence proves nothing.
_BLIND = """
UPDATE {table} d
SET presence = 'unknown', presence_since = GREATEST(%(now)s, d.presence_since)
FROM sites_mqttconnection c
WHERE c.site_id = d.site_id AND c.status <> 'connected' AND d.presence <> 'unknown'
RETURNING d.id, d.site_id, d.presence
"""

# The deadline counts from the last message, or from when we could hear again: a break
# of our own link may be over before any check has seen it.
_SILENT = """
UPDATE {table} d
SET presence = 'offline', presence_since = GREATEST(%(now)s, d.presence_since)
FROM sites_mqttconnection c
WHERE c.site_id = d.site_id AND c.status = 'connected' AND d.presence <> 'offline'
  AND d.offline_after < %(now)s
  AND COALESCE(c.last_connected_at, '-infinity') + make_interval(secs =>
      %(factor)s * COALESCE(d.interval_s, %(interval)s)) < %(now)s
RETURNING d.id, d.site_id, d.presence
"""


def check_presence(now: datetime) -> int:
    """Turn devices unknown or offline whose time has come; return how many."""
    changes: list[PresenceChange] = []
    with transaction.atomic():
        for sql in (_BLIND, _SILENT):
            changes += _change(sql, "devices_gateway", "gateway", now)
            changed = _change(sql, "devices_datalogger", "datalogger", now)
            write_periods([change.device_id for change in changed])
            changes += changed
        transaction.on_commit(lambda: broadcast(changes))
    return len(changes)


def _change(sql: str, table: str, kind: str, now: datetime) -> list[PresenceChange]:
    with connection.cursor() as cursor:
        cursor.execute(
            sql.format(table=table),
            {"now": now, "factor": OFFLINE_FACTOR, "interval": DEFAULT_INTERVAL_S},
        )
        return [
            PresenceChange(site_id, kind, device_id, presence)
            for device_id, site_id, presence in cursor.fetchall()
        ]


def broadcast(changes: list[PresenceChange]) -> None:
    """Emit `device` for each change; many at once are a `resync`."""
    by_site: dict[int, list[PresenceChange]] = {}
    for change in changes:
        by_site.setdefault(change.site_id, []).append(change)
    for site_id, of_site in by_site.items():
        channel = [events.site_channel(site_id)]
        if len(of_site) > MANY_CHANGES:
            events.emit(channel, "resync", {})
            continue
        for change in of_site:
            data = {f"{change.kind}_id": change.device_id, "presence": change.presence}
            events.emit(channel, "device", data)
