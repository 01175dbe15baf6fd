"""Leaves a broker: `offline`, DISCONNECT, and a clean connect that ends the session.

Lives on the loop thread beside the connection that it parts from, which may be on its
way to another broker already. Bounded, and tried once: a broker that is gone keeps the
session for as long as it likes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from workers.link import Link, Owner, Sink
from workers.spec import ConnectionSpec
from workers.standing import Claim

GOODBYE_TIMEOUT_S = 1.0  # for the PUBACK of `offline`
WIPE_TIMEOUT_S = 5.0
# A farewell in the background lets the new connection come up first: only then is it
# known whether both names stand for one broker, and one session.
REST_S = 5.0


class Step(Enum):
    GOODBYE = "goodbye"  # `offline` sent
    RESTING = "resting"  # until the new connection is up
    WIPING = "wiping"  # a clean connect that ends the session
    OVER = "over"


class LinkHost(Protocol):
    """Who opens and watches links: the supervisor."""

    def open_link(
        self, spec: ConnectionSpec, owner: Owner, sink: Sink | None = None
    ) -> Link:
        """Have a link opened in the executor; without a sink its messages are lost."""

    def forget_link(self, link: Link) -> None: ...
    def claim(self, shard: int) -> Claim:
        """Say how sure we are that a shard is ours."""


class Farewell:
    """One parting from one session."""

    def __init__(
        self,
        host: LinkHost,
        spec: ConnectionSpec,
        *,
        end_session: bool,
        is_background: bool,
        is_ours: Callable[[Link], bool],
        over: Callable[[Farewell], None],
    ) -> None:
        """Prepare a farewell.

        Args:
            host: opens and watches links.
            spec: the settings that are left.
            end_session: the broker shall keep nothing for us.
            is_background: another connection starts meanwhile.
            is_ours: whether a link would meet the session of the new connection: two
                names may stand for one broker.
            over: told once, when all is said and done.
        """
        self.spec = spec
        self.end_session = end_session
        self.link: Link | None = None
        self.detail = ""  # what did not work, for people
        self.step = Step.GOODBYE
        self._host = host
        self._is_background = is_background
        self._is_ours = is_ours
        self._over = over
        self._deadline = 0.0  # monotonic
        self._goodbye_mid = 0

    def begin(self, link: Link | None) -> None:
        """Say goodbye on a link that is up; without one, only end the session."""
        self.link = link
        if link is None:
            self._left()
            return
        link.hand_over(self)
        self._deadline = time.monotonic() + GOODBYE_TIMEOUT_S
        if not self.spec.has_will:
            self._say_goodbye()
            return
        self._goodbye_mid = link.publish(
            self.spec.status_topic, "offline", qos=1, retain=True
        )
        link.on_writable()

    def hurry(self) -> None:
        """Rest no longer: the new connection is up, or not wanted any more."""
        self._is_background = False
        if self.step is Step.RESTING:
            self._wipe()

    def keep_session(self) -> None:
        """Leave the session alone: it is wanted again."""
        self.end_session = False
        if self.step is Step.RESTING:
            self._end()

    def cut(self) -> None:
        """Let go at once, without a word."""
        self.step = Step.OVER
        self._close_link()

    def tick(self, now: float) -> None:
        if self.link is not None and not self.link.is_opening:
            self.link.misc()
        if self.step is Step.OVER or now < self._deadline:
            return
        if self.step is Step.GOODBYE:
            self._say_goodbye()
        elif self.step is Step.RESTING:
            self._wipe()
        else:
            self._end("The broker did not answer; it may keep our session")

    # -- goodbye ---------------------------------------------------------------

    def _say_goodbye(self) -> None:
        if self.link is None:
            self._left()
            return
        link = self.link
        link.disconnect(end_session=self.end_session)  # usually closes: we have left
        if self.link is link:  # the DISCONNECT did not fit into the socket
            self._close_link()
            self._left()

    def _left(self) -> None:
        # Also under MQTT 5, whose DISCONNECT may end the session: rumqttd (iotcore
        # 0.4.0) ignores that.
        if not self.end_session or self.spec.clean_session or self.spec.problem:
            self._end()
        elif self._is_background:
            self.step = Step.RESTING
            self._deadline = time.monotonic() + REST_S
        else:
            self._wipe()

    def _wipe(self) -> None:
        if self._host.claim(self.spec.shard) is not Claim.HELD:
            self._end("Somebody else may use our session by now; it is left alone")
            return
        self.step = Step.WIPING
        self._deadline = time.monotonic() + WIPE_TIMEOUT_S
        self.link = self._host.open_link(self.spec.visiting(), self)

    def _end(self, detail: str = "") -> None:
        self.step = Step.OVER
        self.detail = self.detail or detail
        self._close_link()
        self._over(self)

    def _close_link(self) -> None:
        if self.link is not None:
            link, self.link = self.link, None
            self._host.forget_link(link)
            if not link.is_opening:  # else the executor holds it; closed when done
                link.close()

    # -- what the link says (link.Owner) ---------------------------------------

    def link_opened(self, link: Link, error: Exception | None) -> bool:
        link.is_opening = False
        if link is not self.link:
            link.close()
            return False
        if error is not None:
            self._end("The broker could not be reached; it may keep our session")
            return False
        if self._is_ours(link):
            self._end()
            return False
        return True

    def link_accepted(self, link: Link, *, session_present: bool) -> None:
        if link is self.link and self.step is Step.WIPING:
            link.disconnect(end_session=True)

    def link_refused(self, link: Link, code: int, words: str) -> None:
        if link is self.link:
            self._end(f"The broker refused to end our session: {words}")

    def link_subscribed(self, link: Link, mid: int, refused: list[str]) -> None:
        """Say nothing: a SUBACK that came too late."""

    def link_published(self, link: Link, mid: int, code: int) -> None:
        is_goodbye = self.step is Step.GOODBYE and mid == self._goodbye_mid
        if link is self.link and is_goodbye:
            self._say_goodbye()

    def link_closed(self, link: Link) -> None:
        self._host.forget_link(link)
        if link is not self.link:
            return
        self.link = None
        if self.step is Step.GOODBYE:
            self._left()
        elif self.step is Step.WIPING:
            closed = "The broker closed before our session was ended"
            self._end("" if link.was_accepted else closed)
