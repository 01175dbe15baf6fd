"""What a worker counts about itself, for Prometheus.

The counters begin at zero with the process, which Prometheus understands; all reasons
are there from the start, so that the first drop is seen as one.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from apps.sites.models import Reason
from workers.snapshot import Snapshot

# Upper bounds (s) of a batch's time to its commit: 5 ms is usual, 15 s the time limit.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
INBOX_FULL = "inbox_full"  # we left ourselves, to catch up
OTHER = "other"


class WorkerMetrics:
    """Filled by the writers and the network thread, read by the reporter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_at = time.time()
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0
        reasons = [reason for reason in Reason.values if reason]
        self._drops = dict.fromkeys([*reasons, INBOX_FULL, OTHER], 0)

    def committed_after(self, seconds: float) -> None:
        """Note how long a batch took."""
        with self._lock:
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._sum += seconds

    def reported(self, before: Snapshot | None, after: Snapshot) -> None:
        """Count a drop if this change of a connection is one."""
        reason = drop_reason(before, after)
        if reason:
            with self._lock:
                self._drops[reason if reason in self._drops else OTHER] += 1

    def record(
        self,
        epochs: Mapping[int, int],
        *,
        inbox_messages: int,
        inbox_bytes: int,
        spool: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return what monitoring reads (`apps.core.metrics`, `mqtt_status`)."""
        with self._lock:
            return {
                "started_at": self._started_at,
                "shards": sorted(epochs),
                "inbox_messages": inbox_messages,
                "inbox_bytes": inbox_bytes,
                "spool": dict(spool),
                "drops": dict(self._drops),
                "commits": {
                    "bounds": list(BOUNDS),
                    "counts": list(self._counts),
                    "sum": [self._sum],
                },
            }


def drop_reason(before: Snapshot | None, after: Snapshot) -> str:
    """Return why a connection that was up broke; empty if it did not. Pure.

    People's own changes come with a new generation and are no drops.
    """
    if before is None or before.status != "connected":
        return ""
    if after.status == "error":
        return after.reason or OTHER
    is_same = after.generation == before.generation
    return INBOX_FULL if after.status == "connecting" and is_same else ""
