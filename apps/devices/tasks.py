from __future__ import annotations

import logging

from celery import shared_task
from django.utils import timezone

from apps.devices import discovery_sessions, services

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def check_presence() -> None:
    """Note devices that fell silent, and those that we cannot know about."""
    changed = services.check_presence(timezone.now())
    if changed:
        log.info("presence changed devices=%d", changed)


@shared_task(ignore_result=True)
def check_site_presence(site_id: int) -> None:
    """Do the same for one site at once: its link broke or came back."""
    changed = services.check_presence(timezone.now(), site_id)
    if changed:
        log.info("presence changed site_id=%d devices=%d", site_id, changed)


@shared_task(ignore_result=True)
def close_overdue_discoveries() -> None:
    """End discovery sessions whose worker never came, or died."""
    discovery_sessions.close_overdue(timezone.now())
