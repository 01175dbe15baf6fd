from __future__ import annotations

import logging

from celery import shared_task
from django.utils import timezone

from apps.devices import services

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def check_presence() -> None:
    """Note devices that fell silent, and those that we cannot know about."""
    changed = services.check_presence(timezone.now())
    if changed:
        log.info("presence changed devices=%d", changed)
