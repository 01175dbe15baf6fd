"""Commands to the owner of a shard: an id in, handed over, nothing out."""

from __future__ import annotations

import logging

from celery import shared_task

from workers.runtime import current

log = logging.getLogger(__name__)


@shared_task(name="workers.tasks.ensure", ignore_result=True)
def ensure(site_id: int) -> None:
    """Make the site's connection as its row says: connected, or not."""
    _hand_over(site_id)


@shared_task(name="workers.tasks.drop", ignore_result=True)
def drop(site_id: int) -> None:
    """Disconnect the site, unless its row wants it connected again by now."""
    _hand_over(site_id)


@shared_task(name="workers.tasks.discover", ignore_result=True)
def discover(session_id: int) -> None:
    """Listen to all of a site's topics for a while, as the session's row says."""
    runtime = current()
    if runtime is None:
        log.warning("command ignored session_id=%d: not ready", session_id)
        return
    runtime.discover(session_id)


@shared_task(name="workers.tasks.publish", ignore_result=True)
def publish(command_id: int) -> None:
    """Send a queued command, unless it has expired by now."""
    runtime = current()
    if runtime is None:
        log.warning("command ignored command_id=%d: not ready", command_id)
        return
    runtime.publish(command_id)


@shared_task(name="workers.tasks.resubscribe", ignore_result=True)
def resubscribe(site_id: int) -> None:
    """Subscribe to all of the site's topics once more."""
    runtime = current()
    if runtime is None:
        log.warning("command ignored site_id=%d: the worker is not ready", site_id)
        return
    runtime.supervisor.resubscribe(site_id)


@shared_task(name="workers.tasks.test_connection", ignore_result=True)
def test_connection(trial_id: int) -> None:
    """Try a connection step by step; the settings and the answer are in Redis."""
    runtime = current()
    if runtime is None:
        log.warning("command ignored trial_id=%d: the worker is not ready", trial_id)
        return
    runtime.test(trial_id)


@shared_task(name="workers.tasks.echo", ignore_result=True)
def echo(shard: int, owner: str) -> None:
    """Come back to the worker that has sent this to see whether tasks arrive."""
    runtime = current()
    if runtime is not None:
        runtime.echo.heard(shard, owner)


def _hand_over(site_id: int) -> None:
    runtime = current()
    if runtime is None:
        log.warning("command ignored site_id=%d: the worker is not ready", site_id)
        return
    runtime.ensure(site_id)
