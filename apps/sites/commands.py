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


def send_presence_check(site_id: int) -> bool:
    """Have the site's devices looked at now; without Redis the 30 s check does it."""
    return _send_to(
        "default",
        "apps.devices.tasks.check_site_presence",
        site_id,
        expires_s=settings.OFFLINE_CHECK_INTERVAL,
    )


def send_publish(command_id: int, site_id: int, *, expires_s: int) -> bool:
    """Ask the owner of the site to send a queued command, before it expires."""
    queue = queue_name(shard_of(site_id, settings.MQTT_SHARDS))
    return _send_to(queue, "workers.tasks.publish", command_id, expires_s=expires_s)


def send_discover(site_id: int, session_id: int) -> bool:
    """Ask the owner to listen to all of the site's topics, as its row says."""
    queue = queue_name(shard_of(site_id, settings.MQTT_SHARDS))
    return _send_to(
        queue,
        "workers.tasks.discover",
        session_id,
        expires_s=settings.RECONCILE_INTERVAL,
    )


def send_resubscribe(site_id: int) -> bool:
    """Ask the owner to subscribe to all of the site's topics once more."""
    return _send("workers.tasks.resubscribe", site_id)


def send_trial(site_id: int, trial_id: int, *, expires_s: int) -> bool:
    """Ask the owner of the site to try a connection; what to try lies in Redis."""
    queue = queue_name(shard_of(site_id, settings.MQTT_SHARDS))
    return _send_to(
        queue, "workers.tasks.test_connection", trial_id, expires_s=expires_s
    )


def _send(task: str, site_id: int) -> bool:
    """Queue a task for the site's shard; False when Redis is away.

    A command that is not taken before the next reconcile expires: the reconcile will
    have decided anew by then.
    """
    queue = queue_name(shard_of(site_id, settings.MQTT_SHARDS))
    return _send_to(queue, task, site_id, expires_s=settings.RECONCILE_INTERVAL)


def _send_to(queue: str, task: str, number: int, *, expires_s: int) -> bool:
    try:
        current_app.send_task(task, args=[number], queue=queue, expires=expires_s)
    except OperationalError:
        log.warning("command not sent task=%s id=%d: Redis is away", task, number)
        return False
    return True
