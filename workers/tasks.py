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


def _hand_over(site_id: int) -> None:
    runtime = current()
    if runtime is None:
        log.warning("command ignored site_id=%d: the worker is not ready", site_id)
        return
    runtime.ensure(site_id)
