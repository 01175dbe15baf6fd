from __future__ import annotations

import logging

from celery import shared_task

from apps.telemetry import partitions, quarantine

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def housekeeping() -> None:
    """Make the coming days' partitions; drop what is past its retention."""
    made = partitions.ensure_ahead()
    dropped = partitions.drop_expired()
    pruned = quarantine.prune()
    log.info(
        "housekeeping made=%d dropped=%d quarantine_pruned=%d",
        len(made),
        len(dropped),
        pruned,
    )
