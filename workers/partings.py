"""All farewells of one connection: the sessions that it is leaving, or has to end."""

from __future__ import annotations

from collections.abc import Iterator

from workers.farewell import Farewell
from workers.link import Link
from workers.spec import SessionIdentity


class Partings:
    """What goes on beside a connection until each broker has been left.

    A farewell may be over within each of these calls, and is then forgotten.
    """

    def __init__(self) -> None:
        self._farewells: list[Farewell] = []

    def __bool__(self) -> bool:
        return bool(self._farewells)

    def __iter__(self) -> Iterator[Farewell]:
        return iter(list(self._farewells))

    def begin(self, farewell: Farewell, link: Link | None) -> None:
        self._farewells.append(farewell)
        farewell.begin(link)

    def forget(self, farewell: Farewell) -> None:
        self._farewells.remove(farewell)

    def hold(self, session: SessionIdentity) -> bool:
        """Return whether a session is still being left."""
        return any(old.spec.session_identity == session for old in self)

    def end_session(self, session: SessionIdentity) -> None:
        """Leave nothing of a session at its broker: nobody wants it any more."""
        for farewell in self:
            if farewell.spec.session_identity == session:
                farewell.end_session = True

    def spare(self, session: SessionIdentity) -> None:
        """After a change of mind, end the sessions that are left and no other."""
        for farewell in self:
            if farewell.spec.session_identity == session:
                farewell.keep_session()
            else:
                farewell.end_session = True

    def hurry(self) -> None:
        for farewell in self:
            farewell.hurry()

    def tick(self, now: float) -> None:
        """Do what is due; `now` is monotonic."""
        for farewell in self:
            farewell.tick(now)

    def cut(self) -> None:
        """Let go of all at once, without a word."""
        for farewell in self:
            farewell.cut()
        self._farewells.clear()
