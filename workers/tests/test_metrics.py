"""What a worker counts about itself."""

from __future__ import annotations

import pytest

from workers.metrics import WorkerMetrics, drop_reason
from workers.snapshot import Snapshot


def snapshot(status: str, reason: str = "", generation: int = 1) -> Snapshot:
    return Snapshot(
        connection_id=1,
        site_id=1,
        shard=0,
        generation=generation,
        status=status,
        reason=reason,
    )


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, snapshot("error", "auth"), ""),
        (snapshot("connecting"), snapshot("error", "refused"), ""),
        (snapshot("error", "lost"), snapshot("error", "refused"), ""),
        (snapshot("connected"), snapshot("connected"), ""),
        (snapshot("connected"), snapshot("error", "lost"), "lost"),
        (snapshot("connected"), snapshot("error"), "other"),
        (snapshot("connected"), snapshot("connecting"), "inbox_full"),
        # People changed the settings, or stopped it.
        (snapshot("connected"), snapshot("connecting", generation=2), ""),
        (snapshot("connected"), snapshot("disconnected", generation=2), ""),
    ],
)
def test_a_drop_is_a_connection_that_was_up_and_broke(before, after, reason):
    assert drop_reason(before, after) == reason


def test_drops_are_counted_by_reasons_that_nobody_can_invent():
    metrics = WorkerMetrics()
    up = snapshot("connected")

    for reason in ("lost", "lost", "made/up/topic"):
        metrics.reported(up, snapshot("error", reason))

    drops = metrics.record({}, inbox_messages=0, inbox_bytes=0, spool={})["drops"]
    assert (drops["lost"], drops["other"]) == (2, 1)
    assert "made/up/topic" not in drops
