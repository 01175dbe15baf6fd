from __future__ import annotations

import logging
from collections.abc import Callable

from celery import shared_task

from apps.core.chores import all_chores
from apps.telemetry import partitions, rollups

log = logging.getLogger(__name__)

SLOW_S = 300  # of a lag: questions read the readings themselves by then


@shared_task(ignore_result=True)
def roll_up() -> None:
    """Compute the rollups of what was stored since the last run."""
    progress = rollups.run()
    if progress.lag_s > SLOW_S:
        log.warning(
            "rollups are behind lag_s=%.0f minutes_done=%d",
            progress.lag_s,
            progress.minutes,
        )


@shared_task(ignore_result=True)
def housekeeping() -> None:
    """Make the coming days' partitions; drop what is past its retention.

    Every step has its turn, whatever became of the one before.
    """
    steps: dict[str, Callable[[], object]] = {"made": partitions.ensure_ahead}
    for chore in all_chores():  # each app names its own in `chores.py`
        steps[chore.name.replace(" ", "_")] = chore.do
    log.info("housekeeping %s", " ".join(_results(steps)))


def _results(steps: dict[str, Callable[[], object]]) -> list[str]:
    said = []
    for name, step in steps.items():
        try:
            result = step()
        except Exception:
            log.exception("housekeeping: %s failed", name)
            said.append(f"{name}=failed")
        else:
            amount = len(result) if isinstance(result, list) else result
            said.append(f"{name}={amount}")
    return said
