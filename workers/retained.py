"""Fetches all retained messages of a connection over a second, short-lived link.

A broker queues what it sends at QoS 1: of 20,000 retained messages mosquitto delivers
about 1,020 and drops the rest without a word, iotcore 100. At QoS 0 it sends all of
them (measured in November 2026). So when a SUBSCRIBE brought many, they are fetched
once more at QoS 0, beside the main link.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from workers.farewell import LinkHost
from workers.link import Link, Sink
from workers.pahoclient import Publish
from workers.spec import ConnectionSpec

log = logging.getLogger(__name__)

MANY = 100  # retained messages; iotcore sends no more of them at QoS 1
QUIET_S = 2.0  # without one: that was all
MOST_S = 60.0
SUFFIX = "_retained"
KEEPALIVE_S = 120  # longer than the link lives: it never has to be kept alive
MOST_LIVE_TOPICS = 200_000  # 30 MB; with more, retained values could not be told old


class RetainedSnapshot:
    """One visit. Its messages with the retain flag are taken, live ones are not."""

    def __init__(
        self,
        host: LinkHost,
        spec: ConnectionSpec,
        *,
        take: Sink,
        is_paused: Callable[[Link], bool],
        over: Callable[[], None],
    ) -> None:
        """Prepare a snapshot.

        Args:
            host: opens and watches links.
            spec: the main link's.
            take: gets each retained message.
            is_paused: whether a link may not be read for lack of room.
            over: told once, when there is nothing more to come.
        """
        filters = tuple((name, 0) for name, qos in spec.filters if qos)
        self.count = 0
        # Topics with a live message on the main link since we began: what is retained
        # here may be the value before it.
        self.live: set[bytes] = set()
        self._filters = filters
        self._host = host
        self._take = take
        self._is_paused = is_paused
        self._over = over
        now = time.monotonic()
        self._began = self._last = now
        visit = spec.visiting(SUFFIX, keepalive_s=KEEPALIVE_S, filters=filters)
        self.link: Link | None = host.open_link(visit, self, self._sink)

    def _sink(self, link: Link, message: Publish) -> None:
        if not message.retain or message.topic in self.live:
            return
        self.count += 1
        self._last = time.monotonic()
        self._take(link, message)

    def tick(self, now: float) -> None:
        link = self.link
        if link is None:
            return
        if now - self._began >= MOST_S or len(self.live) > MOST_LIVE_TOPICS:
            self._end("not all of them were fetched in time")
        elif self._is_paused(link):
            self._last = now
        elif now - self._last >= QUIET_S and link.was_accepted:
            self._end()

    def close(self) -> None:
        """Let go: the connection itself is lost, or leaves."""
        if self.link is not None:
            link, self.link = self.link, None
            self._let_go(link)

    def _let_go(self, link: Link) -> None:
        self._host.forget_link(link)
        # While it is opening the executor holds it; closed when that is done.
        if not link.is_opening and not link.is_closed:
            link.close()

    def _end(self, problem: str = "") -> None:
        link = self.link
        if link is None:
            return
        log.log(
            logging.WARNING if problem else logging.INFO,
            "retained snapshot connection_id=%d messages=%d seconds=%.1f %s",
            link.spec.connection_id,
            self.count,
            time.monotonic() - self._began,
            problem,
        )
        self.link = None
        if link.was_accepted:
            link.disconnect()  # usually closes
        self._let_go(link)
        self._over()

    # -- what the link says (link.Owner) ---------------------------------------

    def link_opened(self, link: Link, error: Exception | None) -> bool:
        link.is_opening = False
        if link is not self.link:
            link.close()
            return False
        if error is not None:
            self._end(f"not opened: {type(error).__name__}")
            return False
        return True

    def link_accepted(self, link: Link, *, session_present: bool) -> None:
        if link is self.link:
            self._last = time.monotonic()
            link.subscribe(self._filters)

    def link_refused(self, link: Link, code: int, words: str) -> None:
        if link is self.link:
            self._end(f"refused: {words}")

    def link_subscribed(self, link: Link, mid: int, refused: list[str]) -> None:
        if link is self.link and refused:
            log.warning(
                "retained snapshot connection_id=%d: %d filters refused",
                link.spec.connection_id,
                len(refused),
            )

    def link_published(self, link: Link, mid: int, code: int) -> None:
        """Say nothing: we publish nothing here."""

    def link_closed(self, link: Link) -> None:
        self._host.forget_link(link)
        if link is self.link:
            self._end("the broker closed the link")
