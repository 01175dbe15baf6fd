"""One discovery session on the wire: a visit of our own beside the site's session.

It has its own client id, a clean session and no will, and subscribes at QoS 0: so no
message reaches ingest twice because of it, and nothing of it outlives it. Lives on the
network thread; `take_heard` is for the thread that writes down.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from apps.devices.discovery import (
    DESCRIBED_BYTES,
    KEPT_BYTES,
    OWN_STATUS,
    Key,
    Sighting,
    see,
)
from apps.devices.models import SessionState
from apps.sites.patterns import covers
from apps.telemetry.protocols import topics
from workers.faults import fault_of_code, fault_of_error
from workers.link import Link, Owner, Sink
from workers.pahoclient import Publish
from workers.spec import ConnectionSpec

log = logging.getLogger(__name__)

CLIENT_SUFFIX = "_discover"
ANSWER_TIMEOUT_S = 10.0  # for CONNACK and for SUBACK

# A session is for looking around, not for measuring a flood: each message is handled
# on the thread that also reads the devices', in about 5 µs.
MAX_MESSAGES = 200_000
MAX_BYTES = 256 * 1024 * 1024
MAX_DISTINCT = 50_000  # topics; each costs 100 bytes until the end
MAX_HEARD = 5_000  # topics between two writes; more than a site keeps is of no use
FULL_BYTES = 8 * 1024 * 1024  # of payloads; beyond, only what the database keeps


class Phase(Enum):
    OPENING = "opening"  # in the executor
    GREETING = "greeting"
    SUBSCRIBING = "subscribing"
    LISTENING = "listening"
    OVER = "over"


class Host(Protocol):
    """What a session needs from the supervisor."""

    def open_link(
        self, spec: ConnectionSpec, owner: Owner, sink: Sink | None = None
    ) -> Link: ...
    def forget_link(self, link: Link) -> None: ...


@dataclass(slots=True)
class Heard:
    """What came since the last look."""

    seen: dict[Key, Sighting] = field(default_factory=dict)
    dropped: int = 0  # topics that had no room
    size: int = 0  # of payloads


class Listening:
    """A session from its connect to its goodbye."""

    def __init__(
        self,
        session_id: int,
        spec: ConnectionSpec,
        *,
        duration_s: int,
        filters: Collection[str],
        changed: Callable[[], None],
    ) -> None:
        """Prepare a session; nothing is sent yet.

        Args:
            session_id: its row.
            spec: the site's connection.
            duration_s: from the broker's SUBACK on.
            filters: beside the site's own tree.
            changed: called when it hears from now on, and when it is over.
        """
        self.session_id = session_id
        self.site_id, self.shard, self.code = spec.site_id, spec.shard, spec.code
        wanted = dict.fromkeys([f"{spec.code}/#", *filters])
        self.spec = spec.visiting(
            CLIENT_SUFFIX, filters=tuple((name, 0) for name in wanted), unwanted=()
        )
        self.phase = Phase.OPENING
        self.link: Link | None = None
        self.outcome: tuple[SessionState, str] | None = None
        self.started_at: datetime | None = None
        self.messages = 0
        self.others: frozenset[str] = frozenset()  # codes of the other sites
        self.mapped: frozenset[int] = frozenset()  # hashes of topics with a mapping
        self._duration_s = duration_s
        self._changed = changed
        self._deadline = 0.0
        self._bytes = 0
        self._too_much = ""
        self._known: set[int] = set()  # hashes of topics that nobody claims
        self._covered: set[int] = set()  # those of them that ingest gets as well
        self._claimed: set[int] = set()
        self._own_filters = [name for name, _ in spec.filters]
        self._lock = threading.Lock()
        self._heard = Heard()
        self._host: Host | None = None

    @property
    def is_over(self) -> bool:
        return self.phase is Phase.OVER

    @property
    def topics(self) -> int:
        """Different topics so far that no decoder claims."""
        return len(self._known)

    # -- for the thread that writes down ---------------------------------------

    def take_heard(self) -> Heard:
        with self._lock:
            heard, self._heard = self._heard, Heard()
        return heard

    def give_back(self, heard: Heard) -> None:
        """Take back what could not be written, as far as there is room."""
        with self._lock:
            later, self._heard = self._heard, heard
            heard.dropped += later.dropped
            for key, sighting in later.seen.items():
                if key in heard.seen:
                    heard.seen[key].add(sighting)
                elif len(heard.seen) < MAX_HEARD:
                    heard.seen[key] = sighting
                else:
                    heard.dropped += 1
            heard.size = sum(len(s.payload) for s in heard.seen.values())

    # -- commands, on the network thread ---------------------------------------

    def start(self, host: Host) -> None:
        self._host = host
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        self.link = host.open_link(self.spec, self, self._take)

    def end(self, state: SessionState, detail: str = "") -> None:
        """Say goodbye and be over; the first reason counts."""
        if self.phase is Phase.OVER:
            return
        self.phase = Phase.OVER
        self.outcome = (state, detail)
        link, self.link = self.link, None
        if link is not None and not link.is_opening:  # else closed when it is done
            link.disconnect()
            if self._host is not None:
                self._host.forget_link(link)
            if not link.is_closed:  # the DISCONNECT did not fit into the socket
                link.close()
        self._changed()

    def tick(self, now: float) -> None:
        """Do what is due; `now` is monotonic."""
        if self.link is not None and not self.link.is_opening:
            self.link.misc()
        if self._too_much:
            self.end(SessionState.FINISHED, self._too_much)
        elif self.phase is Phase.LISTENING and now >= self._deadline:
            self.end(SessionState.FINISHED)
        elif self.phase in (Phase.GREETING, Phase.SUBSCRIBING) and (
            now >= self._deadline
        ):
            self._fail("The broker did not answer in time")

    def _fail(self, detail: str) -> None:
        self.end(SessionState.FAILED, detail)

    # -- what happens on the link ----------------------------------------------

    def link_opened(self, link: Link, error: Exception | None) -> bool:
        """The executor is done; return whether the link is to be watched."""
        link.is_opening = False
        if link is not self.link:
            link.close()
            return False
        if error is not None:
            self.link = None
            self._fail(fault_of_error(error).detail)
            return False
        self.phase = Phase.GREETING
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        return True

    def link_accepted(self, link: Link, *, session_present: bool) -> None:
        if link is not self.link:
            return
        self.phase = Phase.SUBSCRIBING
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_S
        link.subscribe(self.spec.filters)

    def link_refused(self, link: Link, code: int, words: str) -> None:
        if link is self.link:
            self._fail(fault_of_code(code, words).detail)

    def link_subscribed(self, link: Link, mid: int, refused: list[str]) -> None:
        if link is not self.link or self.phase is not Phase.SUBSCRIBING:
            return
        if refused:
            self._fail(f"The broker refused: {', '.join(refused[:5])}")
            return
        self.phase = Phase.LISTENING
        self.started_at = datetime.now(UTC)
        self._deadline = time.monotonic() + self._duration_s
        self._changed()

    def link_published(self, link: Link, mid: int, code: int) -> None:
        """Nothing of it is of interest: a session publishes nothing."""

    def link_closed(self, link: Link) -> None:
        if self._host is not None:
            self._host.forget_link(link)
        if link is self.link:
            self.link = None
            why = "was lost" if link.was_accepted else "was closed before an answer"
            self._fail(f"The connection to the broker {why}")

    # -- messages --------------------------------------------------------------

    def _take(self, _link: Link, message: Publish) -> None:
        """Note one message, unless somebody claims its topic; called inside of paho."""
        if self.phase is Phase.OVER or self._too_much:
            return
        self.messages += 1
        self._bytes += len(message.payload)
        if self.messages >= MAX_MESSAGES or self._bytes >= MAX_BYTES:
            self._too_much = f"Ended early, after {self.messages} messages"
        topic = message.topic
        name = hash(topic)
        if name in self._claimed or name in self.mapped:
            return
        if name not in self._known and not self._get_to_know(name, topic):
            return
        if name not in self._covered:  # else ingest notes and counts it
            at_us = time.time_ns() // 1_000
            with self._lock:
                self._note(message, at_us)

    def _get_to_know(self, name: int, topic: bytes) -> bool:
        """Look at a topic for the first time; return whether it is a discovery."""
        if len(self._known) + len(self._claimed) >= MAX_DISTINCT:
            self._too_much = f"Ended early, after {MAX_DISTINCT} topics"
            return False
        if self._is_claimed(topic):
            self._claimed.add(name)
            return False
        self._known.add(name)
        text = topic.decode("utf-8", "replace")
        if any(covers(pattern, text) for pattern in self._own_filters):
            self._covered.add(name)
        return True

    def _note(self, message: Publish, at_us: int) -> None:
        heard = self._heard
        kept = DESCRIBED_BYTES if heard.size < FULL_BYTES else KEPT_BYTES
        was_noted = see(
            heard.seen,
            self.site_id,
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            at_us=at_us,
            kept=kept,
            most=MAX_HEARD,
        )
        if was_noted:
            heard.size += min(kept, len(message.payload))
        else:
            heard.dropped += 1

    def _is_claimed(self, topic: bytes) -> bool:
        """Whether a decoder reads it, we sent it, or another site has it."""
        try:
            if topics.parse(self.code, topic) is not None:
                return True
            first = topic.partition(b"/")[0].decode()
        except ValueError:  # not UTF-8: nobody's
            return False
        return topic.endswith(OWN_STATUS) or first in self.others
