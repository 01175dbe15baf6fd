"""Keeps the leases of this worker's shards: takes what is free, renews, lets go.

A thread of its own with a database connection of its own, so that neither a slow batch
nor a slow broker makes a lease expire. It also answers other threads how sure it is
that a shard is still ours.
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
from workers.dblimits import limited
from workers.standing import Claim

log = logging.getLogger(__name__)

TAKE_EVERY_S = 1.0  # a standby is there at most 16 s after the owner died
SERVE_EVERY_S = 0.2  # until the queues of our shards are consumed
# For one look at all shards. A keeper that waited for a silent database longer than a
# lease lives would never learn that it has lost one.
LOOK_WITHIN_S = 8.0
RELEASE_WITHIN_S = 1.0  # the process is ending
SETTLE_S = 3.0  # after a freeze: until what lay in the sockets is read


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a keeper.

        Args:
            owner: unique to this process, so that its successor is someone else.
            shards: to take as soon as they are free.
            gained: called with (shard, epoch) on the keeper's thread.
            lost: called with the shard.
            serve: called with each of our shards at every turn; whether its
                commands are being taken.
            clock: seconds that also pass while the process is stopped.
        """
        self.owner = owner
        self.shards = tuple(shards)
        self.epochs: dict[int, int] = {}
        self.turns = 0  # read by the watchdog
        self._has_failed = False
        self._gained = gained
        self._lost = lost
        self._serve = serve
        self._clock = clock
        self._confirmed_at: dict[int, float] = {}  # monotonic, before the question
        self._looked_at = clock()
        self._looked_from = self._looked_at  # when that look began
        self._woke_at: float | None = None  # and no answer of the database since
        self._next_renewal = 0.0
        self._unannounced: set[int] = set()  # taken; `gained` has yet to succeed
        self._stop = threading.Event()
        self._look_again = threading.Event()

    # -- for other threads -----------------------------------------------------

    def claim(self, shard: int) -> Claim:
        """Say how sure we are of a shard, without asking the database."""
        now = self._clock()
        confirmed_at = self._confirmed_at.get(shard)
        if confirmed_at is not None and now - confirmed_at < leases.LEASE_TTL_S:
            return Claim.HELD
        return Claim.UNASKED if self.is_in_doubt else Claim.UNSURE

    @property
    def is_in_doubt(self) -> bool:
        """Whether nobody has looked for so long that any shard may be lost."""
        return self._clock() - self._looked_at > leases.LEASE_TTL_S

    @property
    def is_settling(self) -> bool:
        """Whether we were frozen a moment ago, and the database says nothing."""
        woke_at = self._woke_at
        return woke_at is not None and self._clock() - woke_at < SETTLE_S

    def woke(self) -> None:
        """Note that the process was frozen: somebody else may have its sites."""
        self._next_renewal = 0.0  # before the moment: a turn after it does renew
        self._woke_at = self._clock()

    def looked_since(self, moment: float) -> bool:
        """Return whether a look began after this (monotonic) and is over."""
        return self._looked_from >= moment

    def look(self) -> None:
        """Have the leases renewed now."""
        self._next_renewal = 0.0
        self._look_again.set()

    # -- this thread -----------------------------------------------------------

    def run(self) -> None:
        """Take and renew until stopped. A database that is away changes nothing.

        While it is away nobody else can take a shard either; if only we are cut off,
        the next owner's CONNECT with the same client id ends our sessions, and its
        epoch voids our writes.
        """
        while not self._stop.is_set():
            self._look_again.clear()
            self._look_again.wait(self.turn())
        close_old_connections()

    def turn(self) -> float:
        """Renew and take what is due; return how long to wait for the next turn."""
        self.turns += 1
        began = self._clock()
        try:
            with limited(LOOK_WITHIN_S):
                self._renew_and_take(began)
        except DatabaseError as error:
            self._note_failure(error)
            connection.close()
            if self.is_in_doubt:
                self.woke()
        else:
            self._note_success()
            if self._woke_at is not None and began >= self._woke_at:
                self._woke_at = None
        if not self._note_look(began):
            return 0.0
        return TAKE_EVERY_S if self._serve_all() else SERVE_EVERY_S

    def _note_failure(self, error: DatabaseError) -> None:
        """Say it once: a database is away for minutes, and we ask every second."""
        if not self._has_failed:
            log.warning("leases not renewed: %s", type(error).__name__)
        self._has_failed = True

    def _note_success(self) -> None:
        if self._has_failed:
            log.warning("leases renewed again")
        self._has_failed = False

    def _note_look(self, began: float) -> bool:
        """Note that we have looked; not if we were frozen while we did."""
        now = self._clock()
        if now - began >= leases.LEASE_TTL_S:
            self._next_renewal = 0.0
            return False
        self._looked_at, self._looked_from = now, began
        return True

    def _serve_all(self) -> bool:
        """Have every shard of ours served; not `all`, which would stop at the first."""
        served = [self._serve(shard) for shard in list(self.epochs)]
        return all(served)

    def _renew_and_take(self, now: float) -> None:
        if now >= self._next_renewal:
            self._next_renewal = now + leases.RENEW_EVERY_S
            try:
                self._renew_all()
            except DatabaseError:
                self._next_renewal = 0.0  # at the next turn
                raise
        self._take_free()
        for shard in list(self._unannounced):
            epoch = self.epochs.get(shard)
            if epoch is not None:
                self._gained(shard, epoch)
            self._unannounced.discard(shard)

    def _renew_all(self) -> None:
        longest_ago = sorted(self.epochs, key=lambda k: self._confirmed_at.get(k, 0.0))
        _each(longest_ago, self._renew)

    def _renew(self, shard: int) -> None:
        began = self._clock()
        epoch = self.epochs.get(shard)
        if epoch is None:
            return  # a writer was fenced meanwhile
        if leases.renew(shard, self.owner, epoch):
            self._confirmed_at[shard] = began
        else:
            self._let_go(shard)

    def _take_free(self) -> None:
        missing = [shard for shard in self.shards if shard not in self.epochs]
        states = leases.states() if missing else {}
        _each(missing, lambda shard: self._take(shard, states.get(shard)))

    def _take(self, shard: int, state: leases.LeaseState | None) -> None:
        is_dead = state is not None and identity.is_gone(state.owner)
        if state is not None and state.is_alive and not is_dead:
            return
        began = self._clock()
        dead = state.owner if state is not None and is_dead else ""
        epoch = leases.take(shard, self.owner, instead_of=dead)
        if epoch is not None:
            log.info("lease taken shard=%d epoch=%d", shard, epoch)
            self._confirmed_at[shard] = began
            self.epochs[shard] = epoch
            self._unannounced.add(shard)

    def was_fenced(self, shards: set[int]) -> None:
        """Note, from any thread, that a batch was refused: look at once."""
        log.warning("fenced shards=%s: a newer owner writes", sorted(shards))
        for shard in shards:
            self._let_go(shard)
        self.look()

    def _let_go(self, shard: int) -> None:
        self._confirmed_at.pop(shard, None)
        if self.epochs.pop(shard, None) is not None:
            log.warning("lease lost shard=%d", shard)
            self._lost(shard)

    def stop(self) -> None:
        """End the thread's turns; the leases stay ours until `release`."""
        self._stop.set()
        self._look_again.set()

    def release(self) -> None:
        """Free all shards for the next worker; call after the thread has ended."""
        try:
            with limited(RELEASE_WITHIN_S):
                _each(list(self.epochs), self._release)
        except DatabaseError as error:
            log.warning("leases not released: %s", type(error).__name__)
            connection.close()
        self.epochs.clear()

    def _release(self, shard: int) -> None:
        leases.release(shard, self.owner, self.epochs[shard])


def _each(shards: Sequence[int], work: Callable[[int], None]) -> None:
    """Do it for every shard: one whose row is locked holds up no other."""
    refused: DatabaseError | None = None
    for shard in shards:
        try:
            work(shard)
        except DatabaseError as error:
            if getattr(error.__cause__, "pgcode", None) is None:
                raise  # no answer of the server: there will be none for the others
            refused = error
    if refused is not None:
        raise refused
