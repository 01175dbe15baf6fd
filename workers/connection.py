"""Keeps one site connected: a small state machine over one link after another.

Lives on the loop thread; the supervisor calls `tick` about once a second and opens
links in its executor. What it knows of the world it says through `Snapshot`s.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol

from workers import backoff
from workers.backoff import FightDetector
from workers.faults import Fault, fault_of_code, fault_of_error
from workers.link import Link
from workers.spec import ConnectionSpec

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 10.0  # for CONNACK and for SUBACK
GOODBYE_TIMEOUT_S = 1.0  # for the PUBACK of `offline`
WIPE_TIMEOUT_S = 5.0
_TAKEN_OVER = 0x8E


class Phase(Enum):
    WAITING = "waiting"  # for the next try
    OPENING = "opening"  # in the executor
    GREETING = "greeting"  # CONNECT sent
    SUBSCRIBING = "subscribing"
    UP = "up"
    LEAVING = "leaving"  # `offline` sent
    WIPING = "wiping"  # a clean connect that ends the session
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known about a connection now; the reporter makes a report of it."""

    connection_id: int
    site_id: int
    shard: int
    generation: int
    status: str
    reason: str = ""
    detail: str = ""
    client_id: str = ""
    retry_count: int = 0
    next_retry_at: datetime | None = None
    connected_at: datetime | None = None
    session_present: bool | None = None
    errors: int = 0
    topics: tuple[str, ...] = ()


class Host(Protocol):
    """What a connection needs from the supervisor."""

    def open_link(self, connection: BrokerConnection, *, is_wipe: bool) -> Link: ...
    def probe(self, connection: BrokerConnection, told: Callable[[bool], None]) -> None:
        """Say whether the broker accepts a TCP connection."""

    def forget_link(self, link: Link) -> None: ...
    def gone(self, connection: BrokerConnection) -> None: ...
    def report(self, snapshot: Snapshot) -> None: ...
    def has_room(self, connection_id: int) -> bool: ...


class BrokerConnection:
    """One site's connection, from the first try to the goodbye."""

    def __init__(self, host: Host, spec: ConnectionSpec) -> None:
        self.spec = spec
        self.phase = Phase.WAITING
        self.link: Link | None = None
        self.errors = 0
        self._host = host
        self._retry_count = 0
        self._retry_at = 0.0  # monotonic
        self._deadline = 0.0
        self._next_retry: datetime | None = None
        self._connected_at: datetime | None = None
        self._session_present: bool | None = None
        self._held: set[str] = set()  # filters that our session at the broker has
        self._fight = FightDetector()
        self._goodbye_mid = 0
        self._end_session = False
        self._successor: ConnectionSpec | None = None
        self._waits_for_room = False
        self._final_detail = ""

    # -- commands --------------------------------------------------------------

    def start(self) -> None:
        if not self.spec.problem:
            self._report("connecting")
        self._open()

    def obey(self, spec: ConnectionSpec) -> None:
        """Follow a spec; an older generation, or the same, changes nothing."""
        current = self._successor or self.spec
        if spec.generation <= current.generation:
            return
        if self._successor is None and self._is_leaving:
            self._successor = spec  # stopped and started again before it was gone
        elif self._successor is not None or not spec.is_same_link(self.spec):
            self._swap(spec)
        else:
            self.spec = spec
            self._step_in()

    def _swap(self, spec: ConnectionSpec) -> None:
        """Leave under the old settings, then start under the new ones."""
        self._successor = spec
        if not self._is_leaving:
            moved = spec.session_identity != self.spec.session_identity
            self._leave(end_session=moved or spec.clean_session)

    def _step_in(self) -> None:
        """A person pressed start on what is already there: no more waiting."""
        self._fight.calm()
        if self.phase is Phase.WAITING:
            self._retry_count = 0
            self.start()
        elif self.phase is Phase.UP:
            self._report_up()
        else:
            self._report("connecting")

    def drop(self, generation: int) -> None:
        """Disconnect, end the session at the broker, be gone.

        A stop that is older than the settings changes nothing: two commands were read
        from the row on two threads, and the later start came first.
        """
        if generation < (self._successor or self.spec).generation:
            return
        self.spec = replace(self.spec, generation=generation)
        self.remove()

    def remove(self) -> None:
        """Drop whatever is wanted: the site is gone."""
        self._successor = None
        if not self._is_leaving:
            self._leave(end_session=True)
        else:
            self._end_session = True

    def pause(self) -> None:
        """Disconnect, keep the session, be gone: the process ends."""
        self._successor = None
        if not self._is_leaving:
            self._leave(end_session=False)

    def abandon(self) -> None:
        """Let go at once, without a word: somebody else owns the site now."""
        self._close_link()
        self.phase = Phase.GONE
        self._host.gone(self)

    def suspend(self) -> None:
        """The inbox is full: disconnect, keep the session, come back when drained."""
        if self.phase is not Phase.UP or self.link is None:
            return
        link, self.link = self.link, None
        link.disconnect()
        self._host.forget_link(link)
        if not link.is_closed:  # the DISCONNECT did not fit into the socket
            link.close()
        self.phase = Phase.WAITING
        self._waits_for_room = True
        self._retry_at = time.monotonic()
        self._report("connecting", detail="Too many messages at once; catching up")

    @property
    def _is_leaving(self) -> bool:
        return self.phase in (Phase.LEAVING, Phase.WIPING, Phase.GONE)

    # -- time ------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due; `now` is monotonic."""
        if self.link is not None and not self.link.is_opening:
            self.link.misc()
        if self.phase is Phase.WAITING:
            self._tick_waiting(now)
        elif self.phase is Phase.UP and self.link is not None:
            if now - self.link.accepted_at >= backoff.STABLE_AFTER_S:
                self._retry_count = 0
                self._fight.calm()
        elif self.phase is not Phase.GONE and now >= self._deadline:
            self._out_of_time()

    def _tick_waiting(self, now: float) -> None:
        if now < self._retry_at:
            return
        if self._waits_for_room:
            if not self._host.has_room(self.spec.connection_id):
                return
            self._waits_for_room = False
        self._open()

    def _out_of_time(self) -> None:
        if self.phase is Phase.LEAVING:
            self._say_goodbye()
        elif self.phase is Phase.WIPING:
            self._final_detail = "The broker did not answer; it may keep our session"
            self._gone()
        elif self.phase is Phase.OPENING:
            pass  # the executor's own time limits end it
        else:
            self._fail(Fault("timeout", "The broker did not answer in time"))

    # -- opening ---------------------------------------------------------------

    def _open(self) -> None:
        if self.spec.problem:  # also at a retry: never dial with half of the settings
            self._fail(Fault("config", self.spec.problem), wait_s=backoff.MAX_DELAY_S)
            return
        self.phase = Phase.OPENING
        self._next_retry = None
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        self.link = self._host.open_link(self, is_wipe=False)

    def link_opened(self, link: Link, error: Exception | None) -> bool:
        """The executor is done; return whether the link is to be watched."""
        link.is_opening = False
        if link is not self.link or self.phase not in (Phase.OPENING, Phase.WIPING):
            link.close()
            return False
        if error is not None:
            if self.phase is Phase.WIPING:
                self._final_detail = (
                    "The broker could not be reached; it may keep our session"
                )
                self._gone()
            else:
                self._fight.drops = 0  # a fight has a broker that answers
                self._fail(fault_of_error(error))
            return False
        if self.phase is Phase.OPENING:
            self.phase = Phase.GREETING
            self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        return True

    def link_accepted(self, link: Link, *, session_present: bool) -> None:
        if link is not self.link:
            return
        if self.phase is Phase.WIPING:
            link.disconnect(end_session=True)
            return
        self._session_present = session_present
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        self.phase = Phase.SUBSCRIBING
        self._take_back(link, is_old_session=session_present)
        if self.spec.filters:
            link.subscribe()
        else:
            self._is_up(link)

    def _take_back(self, link: Link, *, is_old_session: bool) -> None:
        """Unsubscribe what an old session still has; the broker would go on sending."""
        wanted = {name for name, _ in self.spec.filters}
        stale = {*self.spec.unwanted, *self._held} - wanted
        if is_old_session and stale:
            link.unsubscribe(sorted(stale))
        self._held = wanted

    def link_refused(self, link: Link, code: int, words: str) -> None:
        if link is not self.link:
            return
        if self.phase is Phase.WIPING:
            self._final_detail = f"The broker refused to end our session: {words}"
            self._gone()
            return
        fault = fault_of_code(code, words)
        wait_s = backoff.AUTH_DELAY_S if fault.reason == "auth" else None
        self._fail(fault, wait_s=wait_s)

    def link_subscribed(self, link: Link, refused: list[str]) -> None:
        if link is not self.link or self.phase is not Phase.SUBSCRIBING:
            return
        if refused:
            names = ", ".join(refused[:5])
            self._fail(Fault("subscribe", f"The broker refused: {names}"))
        else:
            self._is_up(link)

    def _is_up(self, link: Link) -> None:
        if self.spec.has_will:
            link.publish(self.spec.status_topic, "online", qos=1, retain=True)
        self.phase = Phase.UP
        self._connected_at = datetime.now(UTC)
        self._report_up()

    # -- losing ----------------------------------------------------------------

    def link_published(self, link: Link, mid: int) -> None:
        is_goodbye = self.phase is Phase.LEAVING and mid == self._goodbye_mid
        if link is self.link and is_goodbye:
            self._say_goodbye()

    def link_closed(self, link: Link) -> None:
        """The socket is gone, by the broker, by paho or by us."""
        self._host.forget_link(link)
        if link is not self.link:
            return
        self.link = None
        if self.phase is Phase.LEAVING:
            self._left()
        elif self.phase is Phase.WIPING:
            if not link.was_accepted and not self._final_detail:
                self._final_detail = "The broker closed before our session was ended"
            self._gone()
        elif self.phase in (Phase.GREETING, Phase.SUBSCRIBING, Phase.UP):
            self._lost(link)

    def _lost(self, link: Link) -> None:
        if link.broke_protocol:
            self._fail(Fault("protocol", f"Closed by us: {link.broke_protocol}"))
        elif not link.was_accepted:
            self._fail(
                Fault(
                    "auth",
                    "The broker closed the connection before answering; the usual "
                    "cause is a wrong user name or password, or a TLS port",
                )
            )
        else:
            code = link.server_code
            said = "" if code is None else f" (the broker said 0x{code:02X})"
            self._fail(Fault("lost", f"Connection lost{said}"))
            self._look_for_a_fight(link)

    def _look_for_a_fight(self, link: Link) -> None:
        age_s = time.monotonic() - link.accepted_at
        was_taken_over = link.server_code == _TAKEN_OVER

        def told(broker_is_up: bool) -> None:
            if self.phase is not Phase.WAITING:
                return
            is_fight = self._fight.dropped(
                age_s=age_s, was_taken_over=was_taken_over, broker_is_up=broker_is_up
            )
            if is_fight:
                self._retreat()

        if age_s < backoff.FIGHT_WITHIN_S or was_taken_over:
            self._host.probe(self, told)
        else:
            self._fight.drops = 0

    def _retreat(self) -> None:
        wait_s = self._fight.next_cooldown_s()
        self._wait(wait_s)
        self._report(
            "error",
            "duplicate_client_id",
            f"Another client connects as '{self.spec.client_id}' and takes our "
            f"session; waiting {wait_s:.0f} s",
        )

    def _fail(self, fault: Fault, *, wait_s: float | None = None) -> None:
        self._close_link()
        self.errors += 1
        if wait_s is None:
            # The jitter needs no secrecy.
            spread = random.uniform(-1, 1)  # noqa: S311
            wait_s = backoff.delay_s(self._retry_count, spread=spread)
        self._retry_count += 1
        self._wait(wait_s)
        self._report("error", fault.reason, fault.detail)

    def _wait(self, wait_s: float) -> None:
        self.phase = Phase.WAITING
        self._retry_at = time.monotonic() + wait_s
        self._next_retry = datetime.now(UTC) + timedelta(seconds=wait_s)

    def _close_link(self) -> None:
        if self.link is not None:
            link, self.link = self.link, None
            self._host.forget_link(link)
            if (
                not link.is_opening
            ):  # else the executor holds it; closed when it is done
                link.close()

    # -- leaving ---------------------------------------------------------------

    def _leave(self, *, end_session: bool) -> None:
        self._end_session = end_session
        self._next_retry = None
        was_up = self.phase is Phase.UP
        self.phase = Phase.LEAVING
        if not was_up or self.link is None:
            self._close_link()
            self._left()
            return
        self._deadline = time.monotonic() + GOODBYE_TIMEOUT_S
        if not self.spec.has_will:
            self._say_goodbye()
            return
        self._goodbye_mid = self.link.publish(
            self.spec.status_topic, "offline", qos=1, retain=True
        )
        self.link.on_writable()

    def _say_goodbye(self) -> None:
        if self.link is None:
            self._left()
            return
        link = self.link
        link.disconnect(end_session=self._end_session)  # usually closes: we have left
        if self.link is link:  # the DISCONNECT did not fit into the socket
            self._close_link()
            self._left()

    def _left(self) -> None:
        # Also under MQTT 5, whose DISCONNECT may end the session: rumqttd (iotcore
        # 0.4.0) ignores that.
        if not self._end_session or self.spec.clean_session or self.spec.problem:
            self._gone()
            return
        self.phase = Phase.WIPING
        self._deadline = time.monotonic() + WIPE_TIMEOUT_S
        self.link = self._host.open_link(self, is_wipe=True)

    def _gone(self) -> None:
        self._close_link()
        if self._successor is not None:
            self.spec, self._successor = self._successor, None
            self._retry_count = 0
            self._final_detail = ""
            self._fight.calm()
            self.phase = Phase.WAITING
            self.start()
            return
        self.phase = Phase.GONE
        self._report("disconnected", detail=self._final_detail)
        self._host.gone(self)

    # -- saying ----------------------------------------------------------------

    def _report_up(self) -> None:
        self._report("connected")

    def _report(self, status: str, reason: str = "", detail: str = "") -> None:
        is_up = status == "connected"
        self._host.report(
            Snapshot(
                connection_id=self.spec.connection_id,
                site_id=self.spec.site_id,
                shard=self.spec.shard,
                generation=self.spec.generation,
                status=status,
                reason=reason,
                detail=detail,
                client_id=self.spec.client_id,
                retry_count=self._retry_count,
                next_retry_at=self._next_retry if status == "error" else None,
                connected_at=self._connected_at,
                session_present=self._session_present,
                errors=self.errors,
                topics=tuple(name for name, _ in self.spec.filters) if is_up else (),
            )
        )
