"""Writes what workers reported into the rows, and does what the plan says."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from apps.core.shards import shard_of
from apps.sites import commands, gaps, leases, reports
from apps.sites.models import MqttConnection, Reason, Status
from apps.sites.plan import Action, Desired, Observed, plan
from apps.sites.reports import Report
from apps.sites.services import change_status

log = logging.getLogger(__name__)


def record_reports(connection_ids: Iterable[int]) -> int:
    """Write the newest report of each connection; return how many were news.

    Raises:
        RedisError: Redis is away; the reconcile records the reports later.
    """
    found = reports.load(connection_ids)
    return sum(record(report) for report in found.values())


def record(report: Report) -> bool:
    """Write a report into its row, unless the row knows a newer one.

    The condition is the fence: a report with an older epoch, an older sequence or older
    settings changes nothing. The row is held until the transaction ends, so two
    recorders write the events in order. The same report may
    come again: it is true again when the reconcile had called its author lost.
    """
    newer = Q(report_epoch__lt=report.epoch) | Q(
        report_epoch=report.epoch, report_seq__lte=report.seq
    )
    is_up = report.status == Status.CONNECTED
    with transaction.atomic():
        # Batches hold the key of the row meanwhile, and need not wait for this.
        row = (
            MqttConnection.objects.select_for_update(no_key=True)
            .filter(newer, pk=report.connection_id, generation__lte=report.generation)
            .first()
        )
        if row is None:
            return False
        if is_up:
            gaps.note_return(row, report)
        MqttConnection.objects.filter(pk=row.pk).update(
            report_epoch=report.epoch,
            report_seq=report.seq,
            last_heartbeat_at=report.at,
            connection_errors=report.errors,
            mqtt_retry_count=report.retry_count,
            mqtt_next_retry=report.next_retry_at,
            subscribed_topics=list(report.topics),
            owner=report.owner,
            away_since=None if is_up else gaps.left_at(row, report),
        )
        row.refresh_from_db()
        if report.connected_at and is_up:
            row.last_connected_at = report.connected_at
        change_status(
            row,
            status=Status(report.status),
            reason=Reason(report.reason),
            detail=report.detail,
            also=["last_connected_at"],
        )
    return True


def reconcile() -> dict[Action, int]:
    """Compare every connection with its report and lease, and act on the difference.

    Safe to repeat and to run twice at once. Raises RedisError when Redis is away.
    """
    rows = list(MqttConnection.objects.all())
    lease_of = leases.states()
    report_of = reports.load(row.pk for row in rows)
    done: dict[Action, int] = {}
    for row in rows:
        lease = lease_of.get(shard_of(row.site_id, settings.MQTT_SHARDS))
        report = report_of.get(row.pk)
        action = plan(
            _desired(row),
            _observed(report) if report else None,
            lease.ownership if lease else None,
        )
        _act(action, row, report)
        done[action] = done.get(action, 0) + 1
    _note_heartbeats(rows, report_of)
    return done


def _desired(row: MqttConnection) -> Desired:
    return Desired(
        is_enabled=row.is_enabled,
        generation=row.generation,
        status=row.status,
        reason=row.reason,
        report_epoch=row.report_epoch,
        report_seq=row.report_seq,
    )


def _observed(report: Report) -> Observed:
    return Observed(
        generation=report.generation,
        epoch=report.epoch,
        seq=report.seq,
        status=report.status,
        reason=report.reason,
    )


def _act(action: Action, row: MqttConnection, report: Report | None) -> None:
    if action is Action.ENSURE:
        commands.send_ensure(row.site_id)
    elif action is Action.DROP:
        commands.send_drop(row.site_id)
    elif action is Action.RECORD and report is not None:
        record(report)
    elif action is Action.MARK_LOST:
        _mark(row, Status.ERROR, Reason.WORKER_LOST)
    elif action is Action.MARK_STOPPED:
        _mark(row, Status.DISCONNECTED, Reason.NONE)


def _mark(row: MqttConnection, status: Status, reason: Reason) -> None:
    """Change a status that no worker will report, if the row is as the plan saw it."""
    with transaction.atomic():
        held = MqttConnection.objects.select_for_update().filter(
            pk=row.pk,
            generation=row.generation,
            report_epoch=row.report_epoch,
            report_seq=row.report_seq,
        )
        present = held.first()
        if present is None:
            return
        if status == Status.DISCONNECTED:
            present.away_since = None
        elif present.status == Status.CONNECTED:
            present.away_since = present.last_heartbeat_at
        change_status(present, status=status, reason=reason, also=["away_since"])


def _note_heartbeats(rows: list[MqttConnection], report_of: dict[int, Report]) -> None:
    """Keep what quiet connections say fresh, in one statement."""
    changed = []
    for row in rows:
        report = report_of.get(row.pk)
        if report and (not row.last_heartbeat_at or row.last_heartbeat_at < report.at):
            row.last_heartbeat_at = report.at
            if report.status == Status.CONNECTED:
                row.recent_per_minute = gaps.recent_per_minute(report)
            changed.append(row)
    fields = ["last_heartbeat_at", "recent_per_minute"]
    MqttConnection.objects.bulk_update(changed, fields, batch_size=500)
