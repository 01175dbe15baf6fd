"""How sure a process is that a shard is still its own. Pure: whoever knows says so."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

# Between tries while the database cannot say whether we still own the site. If somebody
# else does, each try takes the broker's session away from them.
UNSURE_DELAY_S = 60.0


class Claim(Enum):
    HELD = "held"  # confirmed so lately that nobody else can have taken it
    UNSURE = "unsure"  # asked, but the database does not answer
    UNASKED = "unasked"  # nobody has looked for too long: we were frozen


class Standing(Protocol):
    """Who knows: the lease keeper."""

    def claim(self, shard: int) -> Claim: ...
    @property
    def is_in_doubt(self) -> bool:
        """Whether nobody has looked for so long that any shard may be lost."""

    @property
    def is_settling(self) -> bool:
        """Whether we were frozen a moment ago, and the database says nothing.

        Who took our sites meanwhile was given what we hold as well. The end of our
        sessions says so, but is still being read.
        """

    def woke(self) -> None:
        """Note that the process was frozen."""

    def look(self) -> None:
        """Have the database asked now."""

    def looked_since(self, moment: float) -> bool:
        """Return whether a look began after this (monotonic) and is over."""


class Permit:
    """Whether a site may be dialled: only its owner does, as far as anybody can know.

    With a lease that is not confirmed another worker may be connected by now. While the
    database is away for all nobody is: then one try a minute does little harm.
    """

    def __init__(self) -> None:
        self._unsure_since: float | None = None  # monotonic; or of the last try

    @property
    def is_unsure(self) -> bool:
        return self._unsure_since is not None

    def may_dial(self, claim: Claim, now: float) -> bool:
        """Return whether to dial now, which uses up what was granted."""
        if claim is Claim.HELD:
            self._unsure_since = None
            return True
        if self._unsure_since is None:
            self._unsure_since = now
        is_time = now - self._unsure_since >= UNSURE_DELAY_S
        if claim is Claim.UNASKED or not is_time:
            return False
        self._unsure_since = now
        return True

    def grant_one(self, now: float) -> None:
        """Give one try: we left by ourselves, no other owner need be the cause."""
        self._unsure_since = now - UNSURE_DELAY_S


class Unquestioned:
    """For links without leases: nobody else is there."""

    is_in_doubt = False
    is_settling = False

    def claim(self, shard: int) -> Claim:
        return Claim.HELD

    def woke(self) -> None:
        """Nobody else is there."""

    def look(self) -> None:
        """Nothing to look at."""

    def looked_since(self, moment: float) -> bool:
        return True
