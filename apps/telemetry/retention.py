"""Drops old readings, once the rollups have what they say."""

from __future__ import annotations

import logging
from datetime import date

from apps.telemetry import partitions, rollups

log = logging.getLogger(__name__)


def drop_readings() -> list[date]:
    """Drop the readings past their retention; return the days dropped.

    An import may have brought some that are older still and wait to be rolled up:
    then nothing is dropped before that is done.
    """
    oldest = partitions.midnight(partitions.window(partitions.today())[0])
    if rollups.is_due_before(oldest):
        rollups.run(limit_s=60)
        if rollups.is_due_before(oldest):
            log.warning("old readings stay until they are rolled up")
            return []
    return partitions.drop_expired()
