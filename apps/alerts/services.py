"""The check: looks, decides, writes down, and has people told.

Safe to repeat and to run twice at once: one at a time holds the lock, every change is
conditional, and the database allows one open row a thing and one delivery an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from apps.alerts.decide import Known, Rules, Step, decide
from apps.alerts.looking import Key, Sight, look
from apps.alerts.models import (
    Alert,
    AlertChannel,
    AlertDelivery,
    AlertEvent,
    AlertKind,
)
from apps.core import events

FLAPPING = "flapping"
MANY = 20  # alerts of a site at once: browsers refetch instead

_LOCK_KEY = 7_201_190_319  # chosen at random, ours alone


@dataclass(slots=True)
class Outcome:
    """What one check did."""

    opened: list[Alert] = field(default_factory=list)
    closed: list[Alert] = field(default_factory=list)
    deliveries: int = 0


def check(now: datetime) -> Outcome:
    """Open and close alerts; whoever finds another check at work does nothing."""
    outcome = Outcome()
    with transaction.atomic():
        if _is_first():
            _check(outcome, now)
    _broadcast(outcome)
    return outcome


def _is_first() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK_KEY])
        row = cursor.fetchone()
    return bool(row and row[0])


def _check(outcome: Outcome, now: datetime) -> None:
    rows = list(Alert.objects.filter(closed_at=None))
    by_key: dict[Key, Alert] = {
        (row.kind, row.object_id): row for row in rows if row.object_id is not None
    }
    orphans = [row.pk for row in rows if row.object_id is None]
    sights = look(by_key.keys(), now=now)
    rules = Rules(
        after=timedelta(seconds=settings.ALERT_AFTER_S),
        clear=timedelta(seconds=settings.ALERT_CLEAR_S),
    )
    todo: dict[Step, list[Key]] = {step: [] for step in Step}
    for key in sights.keys() | by_key.keys():
        sight, row = sights.get(key), by_key.get(key)
        step = decide(
            sight.seen if sight else None,
            _known(row) if row else None,
            now=now,
            rules=rules,
        )
        todo[step].append(key)
    _start(todo, sights, by_key, now)
    _finish(todo, sights, by_key, orphans, now)
    _note_flapping(sights, by_key)
    outcome.opened = _told_now(Alert.objects.filter(confirmed_at=now))
    ids = [by_key[key].pk for key in todo[Step.CLOSE]]
    outcome.closed = _told_now(Alert.objects.filter(pk__in=ids, closed_at=now))
    outcome.deliveries = _plan_deliveries(outcome, now)


def _known(row: Alert) -> Known:
    return Known(row.opened_at, row.confirmed_at is not None, row.good_since)


def _told_now(rows: Iterable[Alert]) -> list[Alert]:
    return sorted(rows, key=lambda row: row.pk)


# -- writing down --------------------------------------------------------------


def _start(
    todo: dict[Step, list[Key]],
    sights: dict[Key, Sight],
    by_key: dict[Key, Alert],
    now: datetime,
) -> None:
    """Note new troubles, and confirm those that have lasted."""
    new = [(key, None) for key in todo[Step.WATCH]]
    new += [(key, now) for key in todo[Step.OPEN] if key not in by_key]  # type: ignore[misc]
    Alert.objects.bulk_create(
        [_alert(key, sights[key], confirmed_at) for key, confirmed_at in new],
        ignore_conflicts=True,
    )
    for key in todo[Step.OPEN]:
        if key in by_key:
            Alert.objects.filter(
                pk=by_key[key].pk, closed_at=None, confirmed_at=None
            ).update(
                confirmed_at=now,
                cause=sights[key].cause,
                detail=_detail(sights[key]),
            )


def _alert(key: Key, sight: Sight, confirmed_at: datetime | None) -> Alert:
    kind, number = key
    alert = Alert(
        kind=kind,
        site_id=sight.site_id,
        subject=sight.subject[:300],
        cause=sight.cause,
        detail=_detail(sight),
        opened_at=sight.seen.since,
        confirmed_at=confirmed_at,
    )
    setattr(alert, f"{kind}_id", number)
    return alert


def _detail(sight: Sight) -> str:
    return FLAPPING if sight.seen.is_flapping else ""


def _finish(
    todo: dict[Step, list[Key]],
    sights: dict[Key, Sight],
    by_key: dict[Key, Alert],
    orphans: list[int],
    now: datetime,
) -> None:
    def rows(step: Step) -> list[int]:
        return [by_key[key].pk for key in todo[step]]

    still_open = Alert.objects.filter(closed_at=None)
    for key in todo[Step.RECOVER]:
        still_open.filter(pk=by_key[key].pk, good_since=None).update(
            good_since=sights[key].seen.since
        )
    still_open.filter(pk__in=rows(Step.RELAPSE)).update(good_since=None)
    ended = rows(Step.CLOSE) + rows(Step.END) + orphans
    still_open.filter(pk__in=ended, confirmed_at__isnull=False).update(closed_at=now)
    forgotten = rows(Step.FORGET) + orphans
    still_open.filter(pk__in=forgotten, confirmed_at=None).delete()


def _note_flapping(sights: dict[Key, Sight], by_key: dict[Key, Alert]) -> None:
    ids = [
        row.pk
        for key, row in by_key.items()
        if key in sights and sights[key].seen.is_flapping and row.detail != FLAPPING
    ]
    Alert.objects.filter(pk__in=ids, closed_at=None).update(detail=FLAPPING)


# -- whom to tell --------------------------------------------------------------


def _plan_deliveries(outcome: Outcome, now: datetime) -> int:
    if not outcome.opened and not outcome.closed:
        return 0
    channels = list(AlertChannel.objects.filter(is_active=True))
    # Who was never told that it began is not told that it is over.
    told = set(
        AlertDelivery.objects.filter(
            alert__in=outcome.closed, event=AlertEvent.OPENED
        ).values_list("alert_id", "channel_id")
    )
    wanted = [
        AlertDelivery(
            alert=alert,
            channel=channel,
            event=event,
            created_at=now,
            next_try_at=now,
        )
        for event, alerts in (
            (AlertEvent.OPENED, outcome.opened),
            (AlertEvent.CLOSED, outcome.closed),
        )
        for alert in alerts
        for channel in channels
        if (event == AlertEvent.OPENED and wants(channel, alert))
        or (event == AlertEvent.CLOSED and (alert.pk, channel.pk) in told)
    ]
    AlertDelivery.objects.bulk_create(wanted, ignore_conflicts=True)
    return len(wanted)


def wants(channel: AlertChannel, alert: Alert) -> bool:
    if channel.site_id not in (None, alert.site_id):
        return False
    is_connection = alert.kind == AlertKind.CONNECTION
    return channel.wants_connections if is_connection else channel.wants_devices


def _broadcast(outcome: Outcome) -> None:
    """Emit `alert` on the sites' channels; after the commit."""
    by_site: dict[int, list[tuple[Alert, str]]] = {}
    for alerts, event in (
        (outcome.opened, AlertEvent.OPENED),
        (outcome.closed, AlertEvent.CLOSED),
    ):
        for alert in alerts:
            by_site.setdefault(alert.site_id, []).append((alert, event))
    for site_id, news in by_site.items():
        _emit(site_id, news)


def _emit(site_id: int, news: Sequence[tuple[Alert, str]]) -> None:
    channel = [events.site_channel(site_id)]
    if len(news) > MANY:
        events.emit(channel, "resync", {})
        return
    for alert, event in news:
        events.emit(
            channel,
            "alert",
            {
                "alert_id": alert.pk,
                "site_id": site_id,
                "event": event,
                "kind": alert.kind,
                "object_id": alert.object_id,
                "subject": alert.subject,
                "cause": alert.cause,
                "detail": alert.detail,
            },
        )
