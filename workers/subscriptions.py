"""What a connection has asked its broker for, and what the broker has confirmed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from workers.link import Link
from workers.spec import ConnectionSpec

ANSWER_TIMEOUT_S = 10.0  # for CONNACK and for SUBACK


class Subscriptions:
    """The filters of one session, over one link after another."""

    def __init__(self) -> None:
        self.deadline = 0.0  # monotonic, for what is not confirmed
        # Not looked yet whether the last SUBSCRIBE brought many retained messages.
        self.may_lack_retained = False
        self._held: set[str] = set()  # filters that our session at the broker has
        self._unconfirmed: set[int] = set()  # SUBSCRIBEs without their SUBACK

    @property
    def are_confirmed(self) -> bool:
        return not self._unconfirmed

    def begin(self, link: Link, spec: ConnectionSpec, *, is_old_session: bool) -> None:
        """Subscribe to everything; take back what only an old session still wants."""
        self._unconfirmed.clear()
        wanted = _names(spec)
        stale = {*spec.unwanted, *self._held} - wanted
        if is_old_session and stale:  # else the broker would go on sending it
            link.unsubscribe(sorted(stale))
        self._held = wanted
        if spec.filters:
            self._subscribe(link, spec.filters)

    def change(self, link: Link, old: ConnectionSpec, new: ConnectionSpec) -> None:
        """Subscribe to what is new and take back what is not wanted, in that order."""
        added = [wanted for wanted in new.filters if wanted not in old.filters]
        removed = sorted(_names(old) - _names(new))
        if added:
            self._subscribe(link, added)
        if removed:
            link.unsubscribe(removed)
        # What was taken back may still be there after a lost link.
        self._held |= _names(new)

    def again(self, link: Link, spec: ConnectionSpec) -> None:
        """Subscribe to everything once more; retained messages come again."""
        self._subscribe(link, spec.filters, again=True)

    def _subscribe(
        self, link: Link, filters: Sequence[tuple[str, int]], *, again: bool = False
    ) -> None:
        self.deadline = time.monotonic() + ANSWER_TIMEOUT_S
        self.may_lack_retained = True
        link.retained_seen = 0
        self._unconfirmed.add(link.subscribe(filters, again=again))

    def answered(
        self, mid: int, refused: Sequence[str], spec: ConnectionSpec
    ) -> list[str] | None:
        """Note a SUBACK; return the wanted filters that it refused, None: not ours."""
        if mid not in self._unconfirmed:
            return None
        self._unconfirmed.remove(mid)
        wanted = _names(spec)
        return [name for name in refused if name in wanted]


def _names(spec: ConnectionSpec) -> set[str]:
    return {name for name, _ in spec.filters}
