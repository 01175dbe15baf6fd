from __future__ import annotations

import logging

from celery import current_app, shared_task
from django.db import IntegrityError
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.alerts import sending, services

log = logging.getLogger(__name__)

DELIVER_EXPIRES_S = 60  # the next check sends another one


@shared_task(ignore_result=True)
def check() -> None:
    """Open and close alerts; have due deliveries sent."""
    now = timezone.now()
    try:
        done = services.check(now)
    except IntegrityError:
        # A device was deleted between the look and the commit.
        log.info("alert check repeats in the next round: a thing has just gone")
    else:
        if done.opened or done.closed:
            log.info("alerts opened=%d closed=%d", len(done.opened), len(done.closed))
    if sending.is_due(timezone.now()):
        _have_sent()


def _have_sent() -> None:
    """Send in a task of its own: a receiver that hangs must not hold up the check."""
    try:
        current_app.send_task(
            "apps.alerts.tasks.deliver", queue="default", expires=DELIVER_EXPIRES_S
        )
    except OperationalError:
        log.warning("alerts wait: the task broker is away")


@shared_task(ignore_result=True)
def deliver() -> None:
    arrived = sending.deliver(timezone.now())
    if arrived:
        log.info("alerts delivered count=%d", arrived)
