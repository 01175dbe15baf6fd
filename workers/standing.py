"""How sure a process is that a shard is still its own. Pure: whoever knows says so."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


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

    def look(self) -> None:
        """Have the database asked now."""

    def looked_since(self, moment: float) -> bool:
        """Return whether a look began after this (monotonic) and is over."""


class Unquestioned:
    """For links without leases: nobody else is there."""

    is_in_doubt = False

    def claim(self, shard: int) -> Claim:
        return Claim.HELD

    def look(self) -> None:
        """Nothing to look at."""

    def looked_since(self, moment: float) -> bool:
        return True
