"""Writes what a batch says about devices: one statement a table, whatever the batch.

A device's row is locked by its UPDATE, so the presence period written with it cannot
contradict it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from apps.core.prepared import Prepared
from apps.devices.identities import DeviceIds, DeviceKey, MissingRowError
from apps.devices.presence import (
    Gone,
    PresenceChange,
    silence_sql,
    take_along,
    write_periods,
)


@dataclass(slots=True)
class DeviceNews:
    """What a batch says about one device; later messages overwrite earlier ones.

    `at_us` is when the presence was last told, microseconds since 1970. `maybe_us` is
    when values came that were measured `lag_us` earlier: whether they show the device
    alive or are its history depends on its own limit.
    """

    gateway: str | None = None
    is_online: bool | None = None
    at_us: int = 0
    seen_us: int | None = None
    maybe_us: int = 0
    lag_us: int = 0
    fields: dict[str, str | float | None] = field(default_factory=dict)


_FIELDS = (
    ("serial_number", "text"),
    ("label", "text"),
    ("firmware_version", "text"),
    ("interval_s", "float8"),
    ("uptime_s", "float8"),
    ("rssi", "float8"),
    ("battery", "float8"),
)


_GATEWAY = "gateway_id = COALESCE(v.gateway_id, d.gateway_id),"
_GATEWAY_LATE = """gateway_id = CASE WHEN v.is_stale
    THEN COALESCE(d.gateway_id, v.gateway_id)
    ELSE COALESCE(v.gateway_id, d.gateway_id) END,"""


def write_devices(
    ids: DeviceIds,
    gateways: Mapping[DeviceKey, DeviceNews],
    dataloggers: Mapping[DeviceKey, DeviceNews],
    *,
    is_late: bool = False,
) -> list[PresenceChange]:
    """Store what is new about devices; return whose presence changed, in order.

    Args:
        ids: what is known.
        gateways: what is new about them.
        dataloggers: likewise.
        is_late: newer messages may have been stored: theirs counts. What is older than
            the present state, or than the last sign of life, changes neither.
    """
    told = write_gateways(ids, gateways, is_late=is_late)
    changes = told + write_dataloggers(ids, dataloggers, is_late=is_late)
    went = {change.device_id for change in told}
    gone = []
    for key, news in gateways.items():
        # Also one that was offline, came, and went within this batch.
        if news.is_online is False and (
            ids.gateways[key] in went or (news.seen_us is not None and not is_late)
        ):
            at = datetime.fromtimestamp(news.at_us / 1e6, UTC)
            gone.append(Gone(ids.gateways[key], at, at))
    # After the dataloggers: who was heard before the will, in this batch, goes too.
    return changes + take_along(gone)


def write_gateways(
    ids: DeviceIds, news: Mapping[DeviceKey, DeviceNews], *, is_late: bool = False
) -> list[PresenceChange]:
    """Store what is new about gateways; return whose presence changed."""
    if not news:
        return []
    id_of = {ids.gateways[key]: key for key in news}
    changed = _update("devices_gateway", [], id_of, news, is_late=is_late)
    return [PresenceChange(id_of[row[0]].site_id, "gateway", *row) for row in changed]


def write_dataloggers(
    ids: DeviceIds, news: Mapping[DeviceKey, DeviceNews], *, is_late: bool = False
) -> list[PresenceChange]:
    """Store what is new about dataloggers, with their presence periods."""
    if not news:
        return []
    id_of = {ids.dataloggers[key]: key for key in news}
    gateway_ids = [
        ids.gateways[DeviceKey(key.site_id, "", news[key].gateway or "")]
        if news[key].gateway is not None
        else None
        for key in id_of.values()
    ]
    changed = _update(
        "devices_datalogger",
        gateway_ids,
        id_of,
        news,
        is_late=is_late,
    )
    write_periods([row[0] for row in changed])
    return [
        PresenceChange(id_of[row[0]].site_id, "datalogger", *row) for row in changed
    ]


def fill_dataloggers(ids: DeviceIds, news: Mapping[DeviceKey, DeviceNews]) -> None:
    """Store what old messages say: they fill what is empty and change nothing."""
    rows = sorted(
        (
            ids.dataloggers[key],
            ids.gateways.get(DeviceKey(key.site_id, "", item.gateway or "")),
            item.fields.get("serial_number"),
            item.fields.get("label"),
        )
        for key, item in news.items()
        if item.gateway is not None or item.fields
    )
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE devices_datalogger d SET "
            "gateway_id = COALESCE(d.gateway_id, v.gateway_id), "
            "serial_number = COALESCE(NULLIF(d.serial_number, ''), v.serial, ''), "
            "label = COALESCE(NULLIF(d.label, ''), v.label, '') "
            "FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[]) "
            "AS v(id, gateway_id, serial, label) WHERE d.id = v.id",
            [list(column) for column in zip(*rows, strict=True)],
        )


def _update(
    table: str,
    gateway_ids: list[int | None],
    key_of: Mapping[int, DeviceKey],
    news: Mapping[DeviceKey, DeviceNews],
    *,
    is_late: bool,
) -> list[tuple[int, str, str]]:
    """Return (id, presence, cause) of the rows whose presence changed.

    Raises:
        MissingRowError: an id is gone, its device was deleted meanwhile.
    """
    told = [news[key] for key in key_of.values()]
    columns: list[Any] = [  # lists, which psycopg2 makes arrays of
        list(key_of),
        list(gateway_ids) or [None] * len(told),
        [_presence(item) for item in told],
        [item.at_us for item in told],
        [item.seen_us for item in told],
        [item.maybe_us or None for item in told],
        [item.lag_us for item in told],
        *[[item.fields.get(name) for item in told] for name, _ in _FIELDS],
    ]
    with connection.cursor() as cursor:
        _STATEMENTS[table, is_late].execute(cursor, columns)
        rows = cursor.fetchall()
    if len(rows) != len(told):
        raise MissingRowError(table)
    return [(row[0], row[1], row[2]) for row in rows if row[3]]


def _presence(news: DeviceNews) -> str | None:
    if news.is_online is None:
        return None
    return "online" if news.is_online else "offline"


# Put together from constants of this file alone.
# The rows are locked, in order, before they are changed: what they were is then sure.
# A message that waited may be older than what the offline check has said meanwhile.
_NAMES = ", ".join(name for name, _ in _FIELDS)
_TOLD = "CASE WHEN live.at_us > u.at_us THEN 'online' ELSE u.presence END"
_AT = "to_timestamp(GREATEST(u.at_us, live.at_us) / 1e6::float8)"

# Of a message that waited while newer ones were stored: it counts if it is newer than
# what made the state, and for "offline" than the last sign of life; also if it shows
# that the silence was none, or if the device was never heard.
_TOLD_LATE = f"""CASE WHEN o.last_seen_at IS NULL THEN {_TOLD}
            WHEN {_TOLD} = 'offline' AND {_AT} <= o.last_seen_at THEN NULL
            WHEN {_TOLD} = 'offline' AND o.presence = 'online' THEN 'offline'
            WHEN {_AT} > o.presence_since THEN {_TOLD}
            WHEN {_TOLD} = 'online' AND o.presence = 'offline'
                AND o.offline_cause = 'silence'
                AND {_AT} + make_interval(secs => limits.silence_s)
                    > clock_timestamp() THEN 'online' END"""
_STALE = """o.last_seen_at IS NOT NULL AND o.last_seen_at > to_timestamp(
            GREATEST(u.at_us, u.seen_us, u.maybe_us) / 1e6::float8)"""


def _field(name: str, kind: str, *, is_late: bool) -> str:
    """Return the assignment of what a device says about itself."""
    newer = f"COALESCE(v.{name}, d.{name})"
    if not is_late:
        return f"{name} = {newer}"
    own = f"NULLIF(d.{name}, '')" if kind == "text" else f"d.{name}"
    empty = ", ''" if kind == "text" else ""
    older = f"COALESCE({own}, v.{name}{empty})"
    return f"{name} = CASE WHEN v.is_stale THEN {older} ELSE {newer} END"


def _statement(table: str, *, is_late: bool) -> Prepared:
    also = ""
    if table == "devices_datalogger":
        also = _GATEWAY_LATE if is_late else _GATEWAY
    fields = [
        _field(name, kind, is_late=is_late) for name, kind in _FIELDS if name != "label"
    ]
    sql = f"""
UPDATE {table} d SET {also}
    presence = COALESCE(v.told, d.presence),
    presence_since = CASE WHEN COALESCE(v.told, v.was) = v.was
        THEN v.since ELSE GREATEST(v.at, v.since) END,
    offline_cause = CASE WHEN COALESCE(v.told, v.was) = v.was THEN d.offline_cause
        WHEN v.told = 'offline' THEN 'will' ELSE '' END,
    last_seen_at = GREATEST(d.last_seen_at, v.seen),
    offline_after = CASE WHEN v.seen IS NULL THEN d.offline_after
        ELSE GREATEST(d.last_seen_at, v.seen) + make_interval(secs => v.silence_s) END,
    label = COALESCE(NULLIF(d.label, ''), v.label, ''),
    {", ".join(fields)}
FROM (SELECT u.id, u.gateway_id, o.presence AS was, o.presence_since AS since,
        limits.silence_s, {f"{_STALE} AS is_stale," if is_late else ""}
        {_TOLD_LATE if is_late else _TOLD} AS told,
        {_AT} AS at,
        to_timestamp(GREATEST(u.seen_us, live.at_us) / 1e6::float8) AS seen,
        {", ".join(f"u.{name}" for name, _ in _FIELDS)}
    FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[],
            %s::bigint[], %s::bigint[],
            {", ".join(f"%s::{kind}[]" for _, kind in _FIELDS)})
        AS u(id, gateway_id, presence, at_us, seen_us, maybe_us, lag_us, {_NAMES})
    JOIN {table} o ON o.id = u.id
    CROSS JOIN LATERAL (SELECT {
        silence_sql("o", "COALESCE(u.interval_s, o.interval_s)")
    } AS silence_s) limits
    CROSS JOIN LATERAL (SELECT CASE WHEN u.lag_us <= limits.silence_s * 1e6
        THEN u.maybe_us END AS at_us) live
    ORDER BY u.id FOR NO KEY UPDATE OF o) v
WHERE d.id = v.id
RETURNING d.id, d.presence, d.offline_cause, d.presence <> v.was
"""
    return Prepared(f"update_{table}{'_late' if is_late else ''}", sql)


_STATEMENTS = {
    (table, is_late): _statement(table, is_late=is_late)
    for table in ("devices_gateway", "devices_datalogger")
    for is_late in (False, True)
}
