"""Keeps one site connected: a small state machine over one link after another.

Lives on the loop thread; the supervisor calls `tick` about once a second and opens
links in its executor. What it knows of the world it says through `Snapshot`s. Parting
from a broker is a `Farewell`, which may go on while the next connection is made.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol

from workers import backoff
from workers.backoff import FightDetector
from workers.farewell import Farewell, LinkHost
from workers.faults import Fault, fault_of_code, fault_of_error, fault_of_silence
from workers.link import Link
from workers.pahoclient import Publish
from workers.partings import Partings
from workers.retained import MANY, RetainedSnapshot
from workers.snapshot import Snapshot
from workers.spec import ConnectionSpec
from workers.standing import Permit
from workers.subscriptions import ANSWER_TIMEOUT_S, Subscriptions

log = logging.getLogger(__name__)

_TAKEN_OVER = 0x8E


class Phase(Enum):
    WAITING = "waiting"  # for the next try
    OPENING = "opening"  # in the executor
    GREETING = "greeting"  # CONNECT sent
    SUBSCRIBING = "subscribing"
    UP = "up"
    LEAVING = "leaving"  # until the farewells are over that are in the way
    GONE = "gone"


class Host(LinkHost, Protocol):
    """What a connection needs from the supervisor."""

    def take(self, link: Link, message: Publish) -> None:
        """Put a message into the inbox."""

    def take_retained(self, link: Link, message: Publish) -> None:
        """Put a message of QoS 0 into the inbox; pause its link without room."""

    def is_paused(self, link: Link) -> bool: ...
    def probe(self, connection: BrokerConnection, told: Callable[[bool], None]) -> None:
        """Say whether the broker accepts a TCP connection."""

    def gone(self, connection: BrokerConnection) -> None: ...
    def report(self, snapshot: Snapshot) -> None: ...
    def has_room(self, connection_id: int) -> bool: ...


class BrokerConnection:
    """One site's connection, from the first try to the goodbye."""

    def __init__(self, host: Host, spec: ConnectionSpec) -> None:
        self.spec = spec  # the newest that is wanted
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
        self._lost_at: datetime | None = None
        self._subscriptions = Subscriptions()
        self._fight = FightDetector()
        self._is_wanted = True
        self._partings = Partings()
        self._retained: RetainedSnapshot | None = None
        self._waits_for_room = False
        self._permit = Permit()
        self._final_detail = ""

    @property
    def links(self) -> list[Link]:
        """Every link that is open or being opened for this connection."""
        owners = (self, self._retained, *self._partings)
        return [owner.link for owner in owners if owner is not None and owner.link]

    # -- commands --------------------------------------------------------------

    def start(self) -> None:
        if not self.spec.problem:
            self._report("connecting")
        self._open()

    def obey(self, spec: ConnectionSpec) -> None:
        """Follow a spec; an older generation, or the same, changes nothing."""
        if spec.generation <= self.spec.generation:
            return
        old, self.spec = self.spec, spec
        if self._is_wanted:
            self._partings.spare(spec.session_identity)
        if self.phase is Phase.LEAVING:
            self._is_wanted = True  # stopped and started again before it was gone
            self._go_on()
        elif not spec.is_same_link(old):
            moved = spec.session_identity != old.session_identity
            self._leave(old, end_session=moved)
        else:
            self._step_in(old)

    def _step_in(self, old: ConnectionSpec) -> None:
        """A person pressed start on what is already there, or changed its topics."""
        self._fight.calm()
        if self.phase is Phase.WAITING:
            self._retry_count = 0
            self.start()
        elif self.link is not None and self.phase in (Phase.SUBSCRIBING, Phase.UP):
            self._subscriptions.change(self.link, old, self.spec)
            self._say_what_is_confirmed()
        else:
            self._report("connecting")

    def _say_what_is_confirmed(self) -> None:
        if self._subscriptions.are_confirmed:
            self._report_up()
        else:
            self._report("connecting")

    def resubscribe(self) -> bool:
        """Subscribe to everything once more; return whether that was asked for."""
        if self.phase is not Phase.UP or self.link is None or not self.spec.filters:
            return False
        self._subscriptions.again(self.link, self.spec)
        return True

    def drop(self, generation: int) -> None:
        """Disconnect, end the session at the broker, be gone.

        A stop that is older than the settings changes nothing: two commands were read
        from the row on two threads, and the later start came first.
        """
        if generation < self.spec.generation:
            return
        self.spec = replace(self.spec, generation=generation)
        self.remove()

    def remove(self) -> None:
        """Drop whatever is wanted: the site is gone."""
        self._is_wanted = False
        self._partings.end_session(self.spec.session_identity)
        if self.phase is not Phase.LEAVING:
            self._leave(self.spec, end_session=True)
        self._partings.hurry()

    def pause(self) -> None:
        """Disconnect, keep the session, be gone: the process ends."""
        self._is_wanted = False
        if self.phase is not Phase.LEAVING:
            self._leave(self.spec, end_session=False)
        self._partings.hurry()

    def abandon(self) -> None:
        """Let go at once, without a word: somebody else owns the site now."""
        self._close_link()
        self._partings.cut()
        self.phase = Phase.GONE
        self._host.gone(self)

    def cut(self) -> None:
        """Close the link at once: whose its messages are by now nobody can say.

        One try to come back is free, as after `suspend`.
        """
        if self.link is None or self.link.is_opening:
            return
        if self.phase in (Phase.GREETING, Phase.SUBSCRIBING, Phase.UP):
            self._permit.grant_one(time.monotonic())
            self._fail(Fault("lost", "The worker was frozen and connects anew"))

    def suspend(self) -> None:
        """The inbox is full: disconnect, keep the session, come back when drained."""
        if self.phase is not Phase.UP or self.link is None:
            return
        self._end_snapshot()
        self._lost_at = datetime.now(UTC)
        link, self.link = self.link, None
        link.disconnect()
        self._host.forget_link(link)
        if not link.is_closed:  # the DISCONNECT did not fit into the socket
            link.close()
        self.phase = Phase.WAITING
        self._waits_for_room = True
        self._retry_at = time.monotonic()
        self._permit.grant_one(self._retry_at)
        self._report("connecting", detail="Too many messages at once; catching up")

    # -- time ------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due; `now` is monotonic."""
        self._partings.tick(now)
        if self._retained is not None:
            self._retained.tick(now)
        if self.link is not None and not self.link.is_opening:
            self.link.misc()
        if self.phase is Phase.WAITING:
            self._tick_waiting(now)
        elif self.phase is Phase.UP and self.link is not None:
            self._tick_up(self.link, now)
        elif self._waits_for_answer and now >= self._deadline:
            self._fail(Fault("timeout", "The broker did not answer in time"))

    @property
    def _waits_for_answer(self) -> bool:
        """Not while opening: the executor's own time limits end that."""
        return self.phase in (Phase.GREETING, Phase.SUBSCRIBING)

    def _tick_up(self, link: Link, now: float) -> None:
        asked = self._subscriptions
        if not asked.are_confirmed and now >= asked.deadline:
            self._fail(Fault("timeout", "The broker did not confirm a subscription"))
            return
        if now - link.accepted_at >= backoff.STABLE_AFTER_S:
            self._retry_count = 0
            self._fight.calm()
        self._look_for_retained(link)

    def _tick_waiting(self, now: float) -> None:
        if now < self._retry_at:
            return
        if self._waits_for_room:
            if not self._host.has_room(self.spec.connection_id):
                return
            self._waits_for_room = False
        self._open(now)

    # -- opening ---------------------------------------------------------------

    def _open(self, now: float | None = None) -> None:
        if self.spec.problem:  # also at a retry: never dial with half of the settings
            self._fail(Fault("config", self.spec.problem), wait_s=backoff.MAX_DELAY_S)
            return
        if not self._may_dial(time.monotonic() if now is None else now):
            self.phase = Phase.WAITING
            self._retry_at = 0.0  # asked again at every tick
            return
        self.phase = Phase.OPENING
        self._next_retry = None
        self.link = self._host.open_link(self.spec, self, self._host.take)

    def _may_dial(self, now: float) -> bool:
        was_unsure = self._permit.is_unsure
        may = self._permit.may_dial(self._host.claim(self.spec.shard), now)
        if self._permit.is_unsure and not was_unsure:
            log.warning(
                "not connecting connection_id=%d: the lease is not confirmed",
                self.spec.connection_id,
            )
        return may

    def link_opened(self, link: Link, error: Exception | None) -> bool:
        """The executor is done; return whether the link is to be watched."""
        link.is_opening = False
        if link is not self.link or self.phase is not Phase.OPENING:
            link.close()
            return False
        if error is not None:
            self._fight.drops = 0  # a fight has a broker that answers
            self._fail(fault_of_error(error))
            return False
        self.phase = Phase.GREETING
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        return True

    def link_accepted(self, link: Link, *, session_present: bool) -> None:
        if link is not self.link or self.phase is not Phase.GREETING:
            return
        self._session_present = session_present
        self.phase = Phase.SUBSCRIBING
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        self._subscriptions.begin(link, self.spec, is_old_session=session_present)
        if self._subscriptions.are_confirmed:
            self._is_up(link)

    def link_refused(self, link: Link, code: int, words: str) -> None:
        if link is not self.link:
            return
        fault = fault_of_code(code, words)
        wait_s = backoff.AUTH_DELAY_S if fault.reason == "auth" else None
        self._fail(fault, wait_s=wait_s)

    def link_subscribed(self, link: Link, mid: int, refused: list[str]) -> None:
        if link is not self.link:
            return
        still_wanted = self._subscriptions.answered(mid, refused, self.spec)
        if still_wanted:
            names = ", ".join(still_wanted[:5])
            self._fail(Fault("subscribe", f"The broker refused: {names}"))
        elif still_wanted is None or not self._subscriptions.are_confirmed:
            return
        elif self.phase is Phase.SUBSCRIBING:
            self._is_up(link)
        else:
            self._report_up()

    def _is_up(self, link: Link) -> None:
        if self.spec.has_will:
            link.publish(self.spec.status_topic, "online", qos=1, retain=True)
        self.phase = Phase.UP
        self._connected_at = datetime.now(UTC)
        self._report_up()
        self._partings.hurry()

    # -- retained messages -----------------------------------------------------

    def _look_for_retained(self, link: Link) -> None:
        """Fetch all of them when a SUBSCRIBE brought many: there may be more."""
        if self._retained is not None or not self._subscriptions.may_lack_retained:
            return
        if link.retained_seen < MANY or not any(qos for _, qos in self.spec.filters):
            return
        self._subscriptions.may_lack_retained = False
        self._retained = RetainedSnapshot(
            self._host,
            self.spec,
            take=self._host.take_retained,
            is_paused=self._host.is_paused,
            over=self._end_snapshot,
        )
        link.live_topics = self._retained.live

    def _end_snapshot(self) -> None:
        if self._retained is not None:
            snapshot, self._retained = self._retained, None
            snapshot.close()
        if self.link is not None:
            self.link.live_topics = None

    # -- losing ----------------------------------------------------------------

    def link_published(self, link: Link, mid: int, code: int) -> None:
        """Say nothing: nobody waits for our birth."""

    def link_closed(self, link: Link) -> None:
        """The socket is gone, by the broker, by paho or by us."""
        self._host.forget_link(link)
        if link is not self.link:
            return
        self._end_snapshot()
        self.link = None
        if self.phase in (Phase.GREETING, Phase.SUBSCRIBING, Phase.UP):
            self._lost(link)

    def _lost(self, link: Link) -> None:
        if link.broke_protocol:
            self._fail(Fault("protocol", f"Closed by us: {link.broke_protocol}"))
        elif not link.was_accepted:
            self._fail(fault_of_silence(link.was_silent, link.tls_alert))
        elif link.was_silent:
            self._fail(
                Fault("lost", "The broker has been silent for too long"),
                unheard_s=2 * link.spec.keepalive_s,
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

    def _fail(
        self, fault: Fault, *, wait_s: float | None = None, unheard_s: float = 0.0
    ) -> None:
        if self.phase is Phase.UP:
            self._lost_at = datetime.now(UTC) - timedelta(seconds=unheard_s)
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
        self._end_snapshot()
        if self.link is not None:
            link, self.link = self.link, None
            self._host.forget_link(link)
            if (
                not link.is_opening
            ):  # else the executor holds it; closed when it is done
                link.close()

    # -- leaving ---------------------------------------------------------------

    def _leave(self, old: ConnectionSpec, *, end_session: bool) -> None:
        """Part from a session, then go on with what is wanted now."""
        self._end_snapshot()
        if end_session:
            self._lost_at = None
        elif self.phase is Phase.UP:
            self._lost_at = datetime.now(UTC)
        self._next_retry = None
        if self.phase is not Phase.UP:
            self._close_link()
        link, self.link = self.link, None
        self.phase = Phase.LEAVING
        farewell = Farewell(
            self._host,
            old,
            end_session=end_session,
            is_background=self._is_wanted,
            is_ours=self._is_ours,
            over=self._farewell_over,
        )
        self._partings.begin(farewell, link)
        self._go_on()

    def _farewell_over(self, farewell: Farewell) -> None:
        self._partings.forget(farewell)
        if farewell.detail:
            self._final_detail = farewell.detail
            log.info(
                "farewell connection_id=%d host=%s: %s",
                farewell.spec.connection_id,
                farewell.spec.host,
                farewell.detail,
            )
        self._go_on()

    def _is_ours(self, link: Link) -> bool:
        """Return whether a farewell's link would end the session that is in use now."""
        return (
            self.link is not None
            and self.link.was_accepted
            and self.link.peer == link.peer
            and self.spec.client_id == link.spec.client_id
        )

    def _go_on(self) -> None:
        """Start what is wanted; the same session is never held twice."""
        if self.phase is not Phase.LEAVING:
            return
        if self._is_wanted:
            if not self._partings.hold(self.spec.session_identity):
                self._begin_anew()
        elif not self._partings:
            self.phase = Phase.GONE
            self._report("disconnected", detail=self._final_detail)
            self._host.gone(self)

    def _begin_anew(self) -> None:
        self._retry_count = 0
        self._final_detail = ""
        self._fight.calm()
        self.phase = Phase.WAITING
        self.start()

    # -- saying ----------------------------------------------------------------

    def _report_up(self) -> None:
        lowered = self._lowered
        detail = ""
        if lowered:
            detail = (
                f"The broker sends {len(lowered)} of {len(self.spec.filters)} topics "
                "at a lower QoS than asked, so what comes while the link is broken may "
                f"be lost: {', '.join(lowered[:5])}"
            )
        self._report("connected", detail=detail)

    @property
    def _lowered(self) -> tuple[str, ...]:
        """The filters that the broker has granted a lower QoS than we asked for."""
        granted = self.link.lowered if self.link is not None else {}
        return tuple(name for name, _ in self.spec.filters if name in granted)

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
                lost_at=self._lost_at,
                is_clean=self.spec.clean_session,
                errors=self.errors,
                topics=tuple(name for name, _ in self.spec.filters) if is_up else (),
                lowered_topics=self._lowered if is_up else (),
            )
        )
