"""Sends commands to the owner of a site's shard: task names and ids, nothing else."""

from __future__ import annotations

import logging

from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError

from apps.core.shards import queue_name, shard_of

log = logging.getLogger(__name__)


def send_ensure(site_id: int) -> bool:
    """Ask the owner to make the connection as its row says."""
    return _send("workers.tasks.ensure", site_id)


def send_drop(site_id: int) -> bool:
    """Ask the owner to disconnect the site and to end its session at the broker."""
    return _send("workers.tasks.drop", site_id)


def _send(task: str, site_id: int) -> bool:
    """Queue a task for the site's shard; False when Redis is away.

    A command that is not taken before the next reconcile expires: the reconcile will
    have decided anew by then.
    """
    queue = queue_name(shard_of(site_id, settings.MQTT_SHARDS))
    try:
        current_app.send_task(
            task, args=[site_id], queue=queue, expires=settings.RECONCILE_INTERVAL
        )
    except OperationalError:
        log.warning("command not sent task=%s site_id=%d: Redis is away", task, site_id)
        return False
    return True
