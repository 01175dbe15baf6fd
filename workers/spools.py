"""The spools of a worker's writers, for whoever wants to know what waits in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from workers.spool import Spool

MEGABYTE = 1_048_576


class Spools:
    """One for each writer; a connection always goes to the same one."""

    def __init__(self, each: Sequence[Spool]) -> None:
        self.each = tuple(each)

    @classmethod
    def of(cls, node: str, count: int) -> Spools:
        """Return the spools of a worker; no I/O yet."""
        base = Path(settings.MQTT_SPOOL_DIR)
        if not base.is_absolute():
            base = settings.BASE_DIR / base
        size = settings.MQTT_SPOOL_MAX_MB * MEGABYTE // count
        instance = settings.MQTT_INSTANCE_ID
        return cls([Spool(base, instance, node, size) for _ in range(count)])

    def depth_of(self, connection_id: int) -> int:
        """Return how many acknowledged messages of a connection wait on disk."""
        return sum(spool.depth_of(connection_id) for spool in self.each)

    @property
    def depth(self) -> int:
        return sum(spool.load.messages for spool in self.each)

    def record(self, now: float | None = None) -> dict[str, Any]:
        """Return what monitoring reads."""
        loads = [spool.load for spool in self.each]
        now_us = (time.time() if now is None else now) * 1e6
        oldest_us = min((load.oldest_us for load in loads if load.messages), default=0)
        return {
            "messages": sum(load.messages for load in loads),
            "bytes": sum(load.size for load in loads),
            "oldest_s": max(0.0, (now_us - oldest_us) / 1e6) if oldest_us else 0.0,
            "kept": sum(spool.kept for spool in self.each),
            "drained": sum(spool.drained for spool in self.each),
            "damaged": sum(spool.damaged for spool in self.each),
            "full": any(spool.is_full for spool in self.each),
        }
