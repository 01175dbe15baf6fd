"""The network thread: one selector over all links, a mailbox for everybody else.

Only this thread touches links and connections. Others `post` what is to be done; a
byte in a socket pair wakes the selector.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from apps.sites.publishing import Outgoing, Settled
from apps.telemetry.facts import Message
from workers.connection import BrokerConnection, Phase
from workers.inbox import Inboxes
from workers.link import Link, Owner, Sink
from workers.outbox import Flights
from workers.pahoclient import Publish
from workers.poll import READ, LinkPoll
from workers.snapshot import Snapshot
from workers.spec import ConnectionSpec
from workers.standing import Claim, Standing, Unquestioned
from workers.wake import Wake

log = logging.getLogger(__name__)

TICK_S = 1.0  # keepalive, time limits, retries
LAST_TICK_S = 0.1  # while saying goodbye
RELIEF_S = 0.02  # how often a paused link is looked at
MAX_PAUSE_S = 4.0  # under the shortest keepalive there is, 5 s
OPENERS = 32  # threads for DNS, TCP and TLS; a dead host holds one for 5 s
PROBE_TIMEOUT_S = 2.0


class Guest(Protocol):
    """A visit to a broker that is no site's connection."""

    link: Link | None

    @property
    def is_over(self) -> bool: ...
    def start(self, host: Supervisor) -> None: ...
    def tick(self, now: float) -> None: ...


class Supervisor:
    """Owns the connections of this process."""

    def __init__(
        self,
        inboxes: Inboxes,
        report: Callable[[Snapshot], None],
        settled: Callable[[Settled], None],
        standing: Standing | None = None,
    ) -> None:
        self._standing = standing or Unquestioned()
        self._wake = Wake(self._standing)
        self._held_acks: deque[dict[tuple[int, int], list[int]]] = deque()
        self._flights = Flights(settled)
        self._inboxes = inboxes
        self._report = report
        self._connections: dict[int, BrokerConnection] = {}  # by connection id
        self._guests: set[Guest] = set()
        self._poll = LinkPoll()
        self._mail: deque[Callable[[], None]] = deque()
        self._openers = ThreadPoolExecutor(OPENERS, thread_name_prefix="mqtt-open")
        self._sessions = 0
        self._void: dict[int, int] = {}  # by shard: its last session before it was lost
        self._is_draining = False
        self._is_stopping = False
        self._all_gone: threading.Event | None = None
        self._last_us = 0
        self.last_turn = time.monotonic()  # read by the watchdog

    # -- for other threads -----------------------------------------------------

    def post(self, work: Callable[[], None]) -> None:
        """Have something done on the network thread."""
        self._mail.append(work)
        self._poll.wake()

    def ensure(self, spec: ConnectionSpec) -> None:
        self.post(lambda: self._ensure(spec))

    def drop(self, spec: ConnectionSpec) -> None:
        """Disconnect a site and end its session, also one of an earlier process."""
        self.post(lambda: self._drop(spec))

    def forget_site(self, site_id: int) -> None:
        """Drop a site whose row is gone."""
        self.post(lambda: self._forget_site(site_id))

    def publish(self, outgoing: Outgoing, give_up_at: float) -> None:
        """Send a command that is claimed; what becomes of it is said to `settled`."""
        self.post(lambda: self._publish(outgoing, give_up_at))

    def resubscribe(self, site_id: int) -> None:
        """Subscribe to everything of a site once more."""
        self.post(lambda: self._resubscribe(site_id))

    def admit(self, guest: Guest) -> None:
        """Look after a visit until it is over."""
        self.post(lambda: self._admit(guest))

    def abandon(self, shard: int) -> None:
        """Let go of all connections of a shard at once, and of what they brought."""
        self._void[shard] = self._sessions
        self.post(lambda: self._abandon(shard))

    def is_void(self, message: Message) -> bool:
        """Return whether a message came before its shard was lost; for any thread.

        The next owner gets it again, or has had it, also if we are that next owner: we
        were frozen, say, and read now what has been in a socket since.
        """
        return message.session <= self._void.get(message.shard, 0)

    def acknowledge(self, committed: Iterable[Message]) -> None:
        """Send the PUBACKs of what is durable, unless its session is over."""
        by_link: dict[tuple[int, int], list[int]] = {}
        for message in committed:
            if message.qos:
                key = (message.connection_id, message.session)
                by_link.setdefault(key, []).append(message.mid)
        if by_link:
            self.post(lambda: self._acknowledge(by_link))

    def is_over(self, message: Message) -> bool:
        """Return whether the session that a message came in has ended.

        For any thread: what has ended stays so.
        """
        connection = self._connections.get(message.connection_id)
        return connection is None or all(
            link.session != message.session or link.is_closed
            for link in connection.links
        )

    def drain(self) -> None:
        """Take no more messages; what comes is not acknowledged and comes again."""
        self._is_draining = True

    def stop(self, timeout_s: float) -> bool:
        """Say goodbye on all connections in parallel; return whether all are gone."""
        done = threading.Event()
        self.post(lambda: self._pause_all(done))
        is_done = done.wait(timeout_s)
        self._is_stopping = True
        self._poll.wake()
        self._openers.shutdown(wait=False, cancel_futures=True)
        return is_done

    def summary(self) -> dict[str, int]:
        """Return how many connections are in which phase."""
        counts: dict[str, int] = {}
        for connection in list(self._connections.values()):
            counts[connection.phase.value] = counts.get(connection.phase.value, 0) + 1
        return counts

    # -- the loop --------------------------------------------------------------

    def run(self) -> None:
        """Turn until stopped. Whatever a connection raises costs only itself."""
        next_tick = time.monotonic()
        while not self._is_stopping:
            ready = self._poll.wait(self._patience(next_tick))
            is_sure = self._wake.mark()
            self._read_mail()  # first: it may be that a shard was lost
            if not is_sure:
                self.last_turn = time.monotonic()
                time.sleep(RELIEF_S)
                continue
            if self._wake.has_just_looked():
                self._cut_unsure()
            for link, mask in ready:
                if self._wake.mark():
                    self._serve(link, mask)
            self._free_acks()
            self._relieve_inbox()
            self.last_turn = time.monotonic()
            self._flights.look(self.last_turn)
            if self.last_turn >= next_tick:
                self._tick(self.last_turn)
                next_tick = self.last_turn + (LAST_TICK_S if self._all_gone else TICK_S)
            if self._all_gone and not self._connections:
                self._all_gone.set()
        self._flights.give_up()
        self._poll.close()

    def _cut_unsure(self) -> None:
        """After a freeze, read nothing from links that may be another's by now."""
        for connection in list(self._connections.values()):
            if self._standing.claim(connection.spec.shard) is not Claim.HELD:
                connection.cut()

    def _patience(self, next_tick: float) -> float:
        until_tick = max(0.0, next_tick - time.monotonic())
        is_busy = bool(self._poll.paused() or self._held_acks)
        return min(until_tick, RELIEF_S) if is_busy else until_tick

    def _read_mail(self) -> None:
        for _ in range(len(self._mail)):
            work = self._mail.popleft()
            try:
                work()
            except Exception:
                log.exception("network thread: a command failed")

    def _serve(self, link: Link, mask: int) -> None:
        if link.is_closed:
            return  # by something earlier in this turn
        try:
            if mask & READ:
                link.on_readable()
            if link.wants_write:
                link.on_writable()
        except Exception:
            log.exception("link broke connection_id=%d", link.spec.connection_id)
            link.close()
            link.tell_closed()
        self._poll.update(link)

    def _tick(self, now: float) -> None:
        for connection in list(self._connections.values()):
            try:
                connection.tick(now)
            except Exception:
                log.exception(
                    "tick failed connection_id=%d", connection.spec.connection_id
                )
            self._after(connection)
        for guest in list(self._guests):
            self._tick_guest(guest, now)

    def _tick_guest(self, guest: Guest, now: float) -> None:
        try:
            guest.tick(now)
        except Exception:
            log.exception("tick of a visit failed")
        if guest.is_over:
            self._guests.discard(guest)
        elif guest.link is not None:
            self._poll.update(guest.link)

    def _relieve_inbox(self) -> None:
        """Stop reading from who fills the inbox; disconnect who does for too long.

        A short pause costs nothing. A long one would cost the link: paho would not see
        the PINGRESP that waits in the socket (measured in November 2026).
        """
        now = self.last_turn
        while self._inboxes.overfull:
            connection = self._connections.get(self._inboxes.overfull.pop())
            if connection is not None and connection.link is not None:
                self._poll.pause(connection.link, now)
        for link, since in self._poll.paused():
            connection_id = link.spec.connection_id
            if self._inboxes.of(connection_id).has_room(connection_id):
                self._poll.resume(link)
                self._serve(link, READ)  # TLS may hold bytes that no selector sees
            elif now - since >= MAX_PAUSE_S:
                self._suspend(link)

    def _suspend(self, link: Link) -> None:
        """Disconnect a main link; a snapshot may wait for as long as it lives."""
        connection = self._connections.get(link.spec.connection_id)
        if connection is not None and connection.link is link:
            connection.suspend()

    def _after(self, connection: BrokerConnection) -> None:
        """Have sent what a command queued."""
        for link in connection.links:
            self._poll.update(link)

    # -- commands, on this thread ----------------------------------------------

    def _ensure(self, spec: ConnectionSpec) -> None:
        if self._is_draining:
            return
        connection = self._connections.get(spec.connection_id)
        if connection is None:
            connection = BrokerConnection(self, spec)
            self._connections[spec.connection_id] = connection
            connection.start()
        else:
            connection.obey(spec)
        self._after(connection)

    def _drop(self, spec: ConnectionSpec) -> None:
        connection = self._connections.get(spec.connection_id)
        if connection is None:
            connection = BrokerConnection(self, spec)
            self._connections[spec.connection_id] = connection
        connection.drop(spec.generation)
        self._after(connection)

    def _forget_site(self, site_id: int) -> None:
        for connection in list(self._connections.values()):
            if connection.spec.site_id == site_id:
                connection.remove()
                self._after(connection)

    def _admit(self, guest: Guest) -> None:
        self._guests.add(guest)
        guest.start(self)

    def _resubscribe(self, site_id: int) -> None:
        for connection in list(self._connections.values()):
            if connection.spec.site_id == site_id:
                is_asked = connection.resubscribe()
                log.info("resubscribe site_id=%d asked=%s", site_id, is_asked)
                self._after(connection)

    def _publish(self, outgoing: Outgoing, give_up_at: float) -> None:
        connection = self._connections.get(outgoing.connection_id)
        is_up = connection is not None and connection.phase is Phase.UP
        link = connection.link if connection and is_up else None
        self._flights.send(outgoing, link, give_up_at)
        if connection is not None:
            self._after(connection)

    def _abandon(self, shard: int) -> None:
        for connection in list(self._connections.values()):
            if connection.spec.shard == shard:
                connection.abandon()
                self._after(connection)

    def _free_acks(self) -> None:
        """Have PUBACKs sent that were held; after an `abandon`, which came first."""
        while self._held_acks and not self._standing.is_in_doubt:
            held = self._held_acks.popleft()
            self.post(partial(self._acknowledge, held))

    def _acknowledge(self, by_link: dict[tuple[int, int], list[int]]) -> None:
        if self._standing.is_in_doubt:  # we were frozen: first look whose they are
            self._held_acks.append(by_link)
            self._standing.look()
            return
        for (connection_id, session), mids in by_link.items():
            connection = self._connections.get(connection_id)
            for link in connection.links if connection else ():
                # A packet id means something only in the TCP session it came in.
                if link.session == session and not link.is_closed:
                    link.acknowledge(mids)
                    self._poll.update(link)

    def _pause_all(self, done: threading.Event) -> None:
        self._all_gone = done
        for connection in list(self._connections.values()):
            connection.pause()
            self._after(connection)

    # -- what connections ask for (connection.Host) ----------------------------

    def open_link(
        self, spec: ConnectionSpec, owner: Owner, sink: Sink | None = None
    ) -> Link:
        self._sessions += 1
        link = Link(spec, self._sessions, owner, sink or _lose)
        self._openers.submit(self._open, owner, link)
        return link

    def _open(self, owner: Owner, link: Link) -> None:
        """Run in the executor: everything that may block."""
        failed: Exception | None = None
        try:
            link.open()
        except Exception as error:  # noqa: BLE001 (DNS, TCP, TLS, bad PEM: all told)
            failed = error
        self.post(lambda: self._opened(owner, link, failed))

    def _opened(self, owner: Owner, link: Link, error: Exception | None) -> None:
        if owner.link_opened(link, error) and link.sock is not None:
            self._poll.add(link)
        connection = self._connections.get(link.spec.connection_id)
        if connection is not None:
            self._after(connection)

    def probe(self, connection: BrokerConnection, told: Callable[[bool], None]) -> None:
        spec = connection.spec

        def look() -> None:
            try:
                socket.create_connection(
                    (spec.host, spec.port), PROBE_TIMEOUT_S
                ).close()
                is_up = True
            except OSError:
                is_up = False
            self.post(lambda: told(is_up))

        self._openers.submit(look)

    def forget_link(self, link: Link) -> None:
        self._poll.remove(link)

    def claim(self, shard: int) -> Claim:
        claim = self._standing.claim(shard)
        if claim is Claim.UNASKED:
            self._standing.look()
        return claim

    def gone(self, connection: BrokerConnection) -> None:
        if self._connections.get(connection.spec.connection_id) is connection:
            del self._connections[connection.spec.connection_id]

    def report(self, snapshot: Snapshot) -> None:
        self._report(snapshot)

    def has_room(self, connection_id: int) -> bool:
        return self._inboxes.of(connection_id).has_room(connection_id)

    def is_paused(self, link: Link) -> bool:
        return self._poll.is_paused(link)

    # -- messages --------------------------------------------------------------

    def take_retained(self, link: Link, message: Publish) -> None:
        """Copy a snapshot's message into the inbox; read no more without room.

        Half of the room is left to the live messages of the main link.
        """
        connection_id = link.spec.connection_id
        self._put(link, message, is_kept=True)
        if not self.has_room(connection_id):
            self._poll.pause(link, self.last_turn)

    def take(self, link: Link, message: Publish) -> None:
        """Copy one message into the inbox: the whole of paho's callback."""
        self._put(link, message)

    def _put(self, link: Link, message: Publish, *, is_kept: bool = False) -> None:
        if self._is_draining:
            return
        # Different for any two messages, also if the clock stands still or goes back.
        received_us = max(time.time_ns() // 1_000, self._last_us + 1)
        self._last_us = received_us
        spec = link.spec
        self._inboxes.of(spec.connection_id).put(
            Message(
                spec.shard,
                spec.site_id,
                spec.connection_id,
                link.session,
                message.topic,
                message.payload,
                message.qos,
                message.retain,
                message.dup,
                message.mid,
                received_us,
            ),
            is_kept=is_kept,
        )


def _lose(_link: Link, _message: Publish) -> None:
    """Take a message that nobody wants: a visit that only ends a session."""
