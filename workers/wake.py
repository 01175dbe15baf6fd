"""Notices that the process was frozen, and lets nothing pass until somebody has looked.

Whoever was frozen may have lost its sites meanwhile. What lies in its sockets then was
given to the new owner as well, and nothing in it says so: it must not be read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from workers.standing import Standing

log = logging.getLogger(__name__)

# Between two marks, which come every second. A lease lives 15 s and is renewed every
# 5 s: before 10 s nobody else can have taken it.
FROZEN_S = 5.0


class Wake:
    """For one thread, which marks that it runs."""

    def __init__(
        self, standing: Standing, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._standing = standing
        self._clock = clock
        self._marked_at = clock()
        self._blind_since: float | None = None
        self._has_looked = False

    def mark(self) -> bool:
        """Return whether sockets may be read: not between a freeze and a look."""
        now = self._clock()
        gap_s, self._marked_at = now - self._marked_at, now
        if gap_s > FROZEN_S:
            log.warning("was frozen for %.1f s: looking at the leases first", gap_s)
            self._standing.woke()
            self._blind_since = now
        elif self._blind_since is None and self._standing.is_in_doubt:
            self._blind_since = now
        if self._blind_since is None:
            return True
        if self._standing.looked_since(self._blind_since):
            self._blind_since = None
            self._has_looked = True
            return True
        self._standing.look()
        return False

    def has_just_looked(self) -> bool:
        """Return, once after each freeze, that the leases have been looked at since."""
        has_looked, self._has_looked = self._has_looked, False
        return has_looked
