"""What the check looks at: every connection and device that may be in trouble."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Count, Max, Q

from apps.alerts.decide import FLAPPING_WITHIN, Seen, State
from apps.alerts.models import Alert, AlertKind
from apps.devices.models import (
    Datalogger,
    Gateway,
    OfflineCause,
    Presence,
    PresencePeriod,
)
from apps.sites import leases
from apps.sites.models import ConnectionEvent, Site, Status
from apps.sites.standings import Standing, standings

Key = tuple[str, int]  # kind, id


@dataclass(frozen=True, slots=True)
class Sight:
    """A thing as it is now, and how to speak of it."""

    seen: Seen
    site_id: int
    subject: str
    cause: str


def look(open_keys: Collection[Key], *, now: datetime) -> dict[Key, Sight]:
    """Return all that is in trouble, has an open row, or changed lately.

    A fixed number of queries. What is missing in the answer is gone or well.
    """
    found = standings(leases.states())
    enabled = {one.site_id for one in found if one.is_enabled}
    sights = _connections(found, _ids(open_keys, AlertKind.CONNECTION), now=now)
    for kind in (AlertKind.GATEWAY, AlertKind.DATALOGGER):
        sights |= _devices(kind, _ids(open_keys, kind), enabled, now=now)
    return sights


def _ids(keys: Iterable[Key], kind: str) -> set[int]:
    return {number for other, number in keys if other == kind}


# -- connections ---------------------------------------------------------------


def _connections(
    found: list[Standing], open_ids: set[int], *, now: datetime
) -> dict[Key, Sight]:
    since = now - FLAPPING_WITHIN
    chosen = [
        one
        for one in found
        if one.connection_id in open_ids
        or (
            one.is_enabled
            and (one.status != Status.CONNECTED or one.status_changed_at > since)
        )
    ]
    past = _past_of_connections([one.connection_id for one in chosen], since)
    names = dict(
        Site.objects.filter(pk__in=[one.site_id for one in chosen])
        .order_by()
        .values_list("pk", "name")
    )
    return {
        (AlertKind.CONNECTION, one.connection_id): Sight(
            seen=_seen(one, *past.get(one.connection_id, (0, None)), now=now),
            site_id=one.site_id,
            subject=names[one.site_id],
            cause=one.reason,
        )
        for one in chosen
        if one.site_id in names
    }


def _seen(
    one: Standing, changes: int, began: datetime | None, *, now: datetime
) -> Seen:
    if not one.is_enabled:
        return Seen(State.NOBODYS, now)
    if one.status == Status.CONNECTED:
        moments = (one.status_changed_at, one.last_connected_at)
        since = max(moment for moment in moments if moment)
        return Seen(State.GOOD, min(since, now), changes)
    # The row may still say connected: its worker died, and nobody has noted it yet.
    is_stale = one.recorded == Status.CONNECTED
    since = now if is_stale else began or one.status_changed_at
    return Seen(State.BAD, min(since, now), changes)


def _past_of_connections(
    ids: list[int], since: datetime
) -> dict[int, tuple[int, datetime | None]]:
    """Return how often each dropped and returned, and when it last dropped or started.

    What people start and stop is no change, but a trouble begins anew with a start.
    """
    own = (Status.CONNECTING, Status.ERROR)
    rest = (Status.DISCONNECTED, Status.DISABLED)
    dropped = Q(old_status=Status.CONNECTED, new_status__in=own)
    returned = Q(old_status__in=own, new_status=Status.CONNECTED)
    started = Q(old_status__in=rest, new_status=Status.CONNECTING)
    rows = (
        ConnectionEvent.objects.filter(connection_id__in=ids, at__gt=since)
        .order_by()
        .values("connection_id")
        .annotate(
            changes=Count("pk", filter=dropped | returned),
            began=Max("at", filter=dropped | started),
        )
    )
    return {row["connection_id"]: (row["changes"], row["began"]) for row in rows}


# -- devices -------------------------------------------------------------------


def _devices(
    kind: str,
    open_ids: set[int],
    enabled: set[int],
    *,
    now: datetime,
) -> dict[Key, Sight]:
    since = now - FLAPPING_WITHIN
    # A deadline was stored: it was online once. What never was is nobody's loss.
    missed = Q(presence=Presence.OFFLINE, offline_after__isnull=False)
    recent = Q(presence_since__gt=since, offline_after__isnull=False)
    wanted = missed | recent | Q(pk__in=open_ids)
    rows: list[Gateway | Datalogger] = list(
        Gateway.objects.filter(wanted).order_by()
        if kind == AlertKind.GATEWAY
        else Datalogger.objects.filter(wanted).order_by()
    )
    lately = [row.pk for row in rows if row.presence_since > since]
    changes = (
        _changes_of_dataloggers(lately, since) if kind == AlertKind.DATALOGGER else {}
    )
    again = _changes_in_alerts(kind, [row.pk for row in rows], since)
    return {
        (kind, row.pk): Sight(
            seen=replace(
                _seen_device(row, enabled, now=now),
                changes=max(changes.get(row.pk, 0), again.get(row.pk, 0)),
            ),
            site_id=row.site_id,
            subject=str(row),
            cause=row.offline_cause,
        )
        for row in rows
    }


def _seen_device(
    row: Gateway | Datalogger, enabled: set[int], *, now: datetime
) -> Seen:
    since = min(row.presence_since, now)
    if row.site_id not in enabled:
        return Seen(State.NOBODYS, since)
    if row.presence == Presence.ONLINE:
        return Seen(State.GOOD, since)
    if row.presence == Presence.UNKNOWN or row.offline_cause == OfflineCause.GATEWAY:
        return Seen(State.UNKNOWN, since)
    return Seen(State.BAD, since)


def _changes_of_dataloggers(ids: list[int], since: datetime) -> dict[int, int]:
    """Count how often each turned; unknown in between is our own link's doing."""
    rows = (
        PresencePeriod.objects.filter(datalogger_id__in=ids, started_at__gt=since)
        .exclude(presence=Presence.UNKNOWN)
        .order_by("datalogger_id", "started_at", "pk")
        .values_list("datalogger_id", "presence")
    )
    return count_changes(rows)


def count_changes(rows: Iterable[tuple[int, str]]) -> dict[int, int]:
    """Count the changes in (id, presence) pairs that come in order. Pure."""
    last: dict[int, str] = {}
    counts: dict[int, int] = {}
    for number, presence in rows:
        if last.get(number) != presence:
            counts[number] = counts.get(number, 0) + 1
        last[number] = presence
    return counts


def _changes_in_alerts(
    kind: str, ids: Collection[int], since: datetime
) -> Mapping[int, int]:
    """Count openings and closings that people were told of, the next one included.

    All that is known about gateways, whose periods are not kept.
    """
    rows = (
        Alert.objects.filter(
            **{f"{kind}_id__in": list(ids)},
            confirmed_at__isnull=False,
            closed_at__gt=since,
        )
        .order_by()
        .values(f"{kind}_id")
        .annotate(count=Count("pk"))
    )
    return {row[f"{kind}_id"]: 2 * row["count"] for row in rows if row[f"{kind}_id"]}
