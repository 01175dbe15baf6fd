"""Celery's door to this app: ids in, a service called, nothing out."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils import timezone

from apps.core.redis import RedisError
from apps.sites import publishing, pulse, recording

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def reconcile() -> None:
    try:
        done = recording.reconcile()
        pulse.note()
    except RedisError:
        log.warning("reconcile skipped: Redis is away")
        return
    acted = {action.value: count for action, count in done.items()}
    log.info("reconcile %s", " ".join(f"{name}={n}" for name, n in acted.items()))


@shared_task(ignore_result=True)
def record_reports(connection_ids: list[int]) -> None:
    """Write down what the owner just reported about these connections."""
    try:
        recording.record_reports(connection_ids)
    except RedisError:
        log.warning("reports not recorded count=%d: Redis is away", len(connection_ids))


@shared_task(ignore_result=True)
def expire_commands() -> None:
    """End the commands that wait in vain: for a worker, a PUBACK or an answer."""
    publishing.expire_commands(timezone.now())
