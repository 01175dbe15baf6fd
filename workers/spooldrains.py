"""The spools that one writer drains: its own, then any that somebody left behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from workers import spooldir
from workers.dblimits import Limit, limited
from workers.spool import Spool
from workers.spooldrain import Drain

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0


class Drains:
    """Steps through the files; used by the writer's thread."""

    def __init__(self, own: Drain, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._clock = clock
        self._left: Drain | None = None
        self._next_look = 0.0
        self._strangers: set[Path] = set()

    @property
    def is_due(self) -> bool:
        return (
            self._own.spool.load.messages > 0
            or self._left is not None
            or self._clock() >= self._next_look
        )

    def step(self, limit: Limit) -> bool:
        """Do a bounded piece of work; return whether there is more.

        Raises:
            OperationalError and its kin: the database is away.
        """
        if self._own.step(limit):
            return True
        if self._left is None and self._clock() >= self._next_look:
            self._next_look = self._clock() + LOOK_EVERY_S
            with limited(limit):
                self._find()
        return self._left is not None and self._step_left(self._left, limit)

    def _step_left(self, left: Drain, limit: Limit) -> bool:
        spool = left.spool
        if not spool.is_met:
            with limited(limit):
                spool.meet()
        if left.step(limit):
            return True
        if not spool.is_met:
            return False  # its disk is full, or it was replaced: met at the next turn
        path = spool.path
        with limited(limit):
            is_gone = spool.remove()
        self._left = None
        if is_gone:
            self._next_look = 0.0  # there may be another
        elif path is not None:
            self._strangers.add(path)
        return is_gone

    def close(self) -> None:
        if self._left is not None:
            self._left.spool.close()
            self._left = None

    def _find(self) -> None:
        """Look for a file whose worker is gone; take the first that is ours."""
        own = self._own.spool
        try:
            for claim in spooldir.claim_left(own.base, own.instance, self._strangers):
                spool = Spool.of_claim(claim, own)
                try:
                    self._look_at(spool, claim.path)
                except BaseException:
                    spool.close()
                    raise
                if self._left is not None:
                    return
        except OSError as error:
            log.warning("spools cannot be looked for: %s", error)

    def _look_at(self, spool: Spool, path: Path) -> None:
        if not spool.open():
            spool.close()
        elif not spool.is_ours:
            if spool.load.messages:
                log.error("spool %s is of another database and stays", path)
            self._strangers.add(path)
            spool.close()
        else:
            if spool.load.messages:
                log.warning("spool %s was left behind: we drain it", path)
            self._left = self._own.like(spool)
