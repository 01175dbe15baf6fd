"""When the reconcile last ran: the sign that beat and the default worker live."""

from __future__ import annotations

import time

from django.conf import settings

from apps.core.redis import client, reconciled_key

LATE_AFTER_S = 90.0


def note() -> None:
    """Note that the reconcile has just run; raises `RedisError`."""
    client().set(reconciled_key(), f"{time.time():.3f}")


def age_s() -> float | None:
    """Return how long ago it ran, None if it never did; raises `RedisError`."""
    said = client().get(reconciled_key())
    try:
        return max(0.0, time.time() - float(str(said)))
    except ValueError:
        return None


def is_late(age: float | None) -> bool:
    """Return whether beat or the default worker must be dead; three rounds missed."""
    return age is None or age > max(LATE_AFTER_S, 3 * settings.RECONCILE_INTERVAL)
