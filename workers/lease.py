"""Keeps the leases of this worker's shards: takes what is free, renews, lets go.

A thread of its own with a database connection of its own, so that neither a slow batch
nor a slow broker makes a lease expire.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from django.db import close_old_connections, connection
from django.db.utils import Error as DatabaseError

from apps.sites import leases
from workers import identity

log = logging.getLogger(__name__)

TAKE_EVERY_S = 2.0  # a standby is there at most 17 s after the owner died
SERVE_EVERY_S = 0.2  # until the queues of our shards are consumed


class LeaseKeeper:
    """Owns `epochs`: by shard, the epoch of each lease that is ours."""

    def __init__(
        self,
        owner: str,
        shards: Sequence[int],
        *,
        gained: Callable[[int, int], None],
        lost: Callable[[int], None],
        serve: Callable[[int], bool],
    ) -> None:
        """Prepare a keeper.

        Args:
            owner: unique to this process, so that its successor is someone else.
            shards: to take as soon as they are free.
            gained: called with (shard, epoch) on the keeper's thread.
            lost: called with the shard.
            serve: called with each of our shards at every turn; whether its
                commands are being taken.
        """
        self.owner = owner
        self.shards = tuple(shards)
        self.epochs: dict[int, int] = {}
        self._gained = gained
        self._lost = lost
        self._serve = serve
        self._stop = threading.Event()
        self._look_again = threading.Event()

    def run(self) -> None:
        """Take and renew until stopped. A database that is away changes nothing.

        While it is away nobody else can take a shard either; if only we are cut off,
        the next owner's CONNECT with the same client id ends our sessions, and its
        epoch voids our writes.
        """
        next_renewal = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            try:
                if now >= next_renewal:
                    self._renew_all()
                    next_renewal = now + leases.RENEW_EVERY_S
                self._take_free()
            except DatabaseError as error:
                log.warning("leases not renewed: %s", type(error).__name__)
                connection.close()
            is_serving = self._serve_all()
            self._look_again.wait(TAKE_EVERY_S if is_serving else SERVE_EVERY_S)
            self._look_again.clear()
        close_old_connections()

    def _serve_all(self) -> bool:
        """Have every shard of ours served; not `all`, which would stop at the first."""
        served = [self._serve(shard) for shard in list(self.epochs)]
        return all(served)

    def _renew_all(self) -> None:
        for shard, epoch in list(self.epochs.items()):
            if not leases.renew(shard, self.owner, epoch):
                self._let_go(shard)

    def _take_free(self) -> None:
        missing = [shard for shard in self.shards if shard not in self.epochs]
        states = leases.states() if missing else {}
        for shard in missing:
            owner = states[shard].owner if shard in states else ""
            dead = owner if identity.is_gone(owner) else ""
            epoch = leases.take(shard, self.owner, instead_of=dead)
            if epoch is not None:
                log.info("lease taken shard=%d epoch=%d", shard, epoch)
                self.epochs[shard] = epoch
                self._gained(shard, epoch)

    def was_fenced(self, shards: set[int]) -> None:
        """Note, from any thread, that a batch was refused: look at once."""
        log.warning("fenced shards=%s: a newer owner writes", sorted(shards))
        for shard in shards:
            self._let_go(shard)
        self._look_again.set()

    def _let_go(self, shard: int) -> None:
        if self.epochs.pop(shard, None) is not None:
            log.warning("lease lost shard=%d", shard)
            self._lost(shard)

    def stop(self) -> None:
        """End the thread's turns; the leases stay ours until `release`."""
        self._stop.set()
        self._look_again.set()

    def release(self) -> None:
        """Free all shards for the next worker; call after the thread has ended."""
        for shard, epoch in list(self.epochs.items()):
            try:
                leases.release(shard, self.owner, epoch)
            except DatabaseError as error:
                log.warning(
                    "lease not released shard=%d: %s", shard, type(error).__name__
                )
                connection.close()
        self.epochs.clear()
