"""A link without a loop: it is served by whoever waits for something on it."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

from workers.link import Link
from workers.pahoclient import Publish
from workers.spec import ConnectionSpec

MANY = 250  # characters of what others said that are passed on


class Talk:
    """A link, and what happened on it (a `link.Listener`).

    Notes whether the message in `listens_for` (topic, payload) came; acknowledges all.
    """

    def __init__(self, spec: ConnectionSpec) -> None:
        self.link = Link(spec, 1, self, self._sink)
        self.is_accepted = False
        self.refusal: tuple[int, str] | None = None
        self.subacks: dict[int, list[str]] = {}
        self.pubacks: dict[int, int] = {}
        self.listens_for = (b"", b"")
        self.is_echoed = False
        self._unacknowledged: list[int] = []

    def begin(self, sock: socket.socket) -> None:
        self.link.attach(sock)
        self.link.is_opening = False

    def wait(self, until: Callable[[Talk], bool], timeout_s: float) -> bool:
        """Serve the link until something is true; False if it closes or takes long."""
        deadline = time.monotonic() + timeout_s
        link = self.link
        while not until(self):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or link.is_closed or link.sock is None:
                return False
            events = selectors.EVENT_READ
            if link.wants_write:
                events |= selectors.EVENT_WRITE
            # Not `select`, which takes no descriptor from 1024 on.
            with selectors.DefaultSelector() as selector:
                selector.register(link.fd, events)
                ready = selector.select(left_s)
            self._serve(ready[0][1] if ready else 0)
        return True

    def _serve(self, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            self.link.on_readable()
        if mask & selectors.EVENT_WRITE and not self.link.is_closed:
            self.link.on_writable()
        mids, self._unacknowledged = self._unacknowledged, []
        if mids and not self.link.is_closed:
            # Else a busy site fills the broker's window, and our word waits behind.
            self.link.acknowledge(mids)

    def end(self) -> None:
        if self.is_accepted and not self.link.is_closed:
            self.link.disconnect()
        if not self.link.is_closed:
            self.link.close()

    def _sink(self, link: Link, message: Publish) -> None:
        """Take our own word; all the rest is for the running connection."""
        if (message.topic, message.payload) == self.listens_for:
            self.is_echoed = True
        if message.qos:
            self._unacknowledged.append(message.mid)

    def link_accepted(self, link: Link, *, session_present: bool) -> None:
        self.is_accepted = True

    def link_refused(self, link: Link, code: int, words: str) -> None:
        self.refusal = (code, words[:MANY])

    def link_subscribed(self, link: Link, mid: int, refused: list[str]) -> None:
        self.subacks[mid] = refused

    def link_published(self, link: Link, mid: int, code: int) -> None:
        self.pubacks[mid] = code

    def link_closed(self, link: Link) -> None:
        """Say nothing: `wait` sees it."""
