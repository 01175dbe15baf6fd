"""The selector over all links: who can be read, who wants to write, who is paused."""

from __future__ import annotations

import selectors
import socket

from workers.link import Link

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class LinkPoll:
    """Watches links by file descriptor; only `wake` may be called by other threads.

    A link is known by the descriptor it had when it was added: closing its socket
    makes `fileno()` useless.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._links: dict[int, Link] = {}
        self._events: dict[int, int] = {}  # what the selector was asked for
        self._paused: dict[int, float] = {}  # since when
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, READ)
        self._is_closed = False

    def wake(self) -> None:
        """End a `wait` that is under way."""
        try:
            self._wake_in.send(b"\0")
        except BlockingIOError:
            pass  # it has been woken often enough
        except OSError:
            if not self._is_closed:
                raise

    def wait(self, timeout_s: float) -> list[tuple[Link, int]]:
        """Return the links that are ready, with READ and WRITE."""
        ready = []
        for key, mask in self._selector.select(timeout_s):
            link = self._links.get(key.fd)
            if link is not None:
                ready.append((link, mask))
            elif key.fileobj is self._wake_out:
                self._empty_wake()
        return ready

    def _empty_wake(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            return

    def add(self, link: Link) -> None:
        # A link that closed without a word leaves its number behind, and the kernel
        # gives numbers out again: the new socket would never be watched.
        self._ask(link.fd, 0)
        self._paused.pop(link.fd, None)
        self._links[link.fd] = link
        self.update(link)

    def remove(self, link: Link) -> None:
        if self.knows(link):
            del self._links[link.fd]
            self._paused.pop(link.fd, None)
            self._ask(link.fd, 0)

    def knows(self, link: Link) -> bool:
        return self._links.get(link.fd) is link

    def update(self, link: Link) -> None:
        """Ask for writability exactly while something waits to be sent."""
        if self.knows(link):
            reads = 0 if link.fd in self._paused else READ
            self._ask(link.fd, reads | (WRITE if link.wants_write else 0))

    def _ask(self, fd: int, events: int) -> None:
        known = self._events.get(fd, 0)
        if events == known:
            return
        if not events:
            del self._events[fd]
            self._selector.unregister(fd)
            return
        self._events[fd] = events
        if known:
            self._selector.modify(fd, events)
        else:
            self._selector.register(fd, events)

    def pause(self, link: Link, now: float) -> None:
        """Read no more from a link until `resume`; its writes go on."""
        if self.knows(link):
            self._paused.setdefault(link.fd, now)
            self.update(link)

    def resume(self, link: Link) -> None:
        if self._paused.pop(link.fd, None) is not None:
            self.update(link)

    def is_paused(self, link: Link) -> bool:
        return self.knows(link) and link.fd in self._paused

    def paused(self) -> list[tuple[Link, float]]:
        """Return the paused links, each with the time of its pause."""
        return [(self._links[fd], since) for fd, since in self._paused.items()]

    def close(self) -> None:
        self._is_closed = True
        self._selector.close()
        self._wake_out.close()
        self._wake_in.close()
