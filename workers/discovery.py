"""The discovery sessions of this process, and the thread that writes what they hear.

Neither the network thread nor a writer: a storm of topics, or a database that is away,
delays a list for people and no reading.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.utils import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone

from apps.devices import discovery, discovery_sessions
from apps.devices.models import DiscoverySession, SessionState
from apps.sites.models import Site
from apps.telemetry.models import TopicMapping
from workers.dblimits import ANSWER_S, limited
from workers.listening import Heard, Listening

if TYPE_CHECKING:
    from workers.spec import ConnectionSpec
    from workers.supervisor import Supervisor

log = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
TOPICS_A_WRITE = 500  # 4 KiB each, so at most 4 MB of SQL
TOPICS_AN_EVENT = 50

_AWAY = (OperationalError, InterfaceError)


class Discoveries:
    """Begins sessions, writes down what they hear, closes them."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._sessions: dict[int, Listening] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_draining = False

    # -- for other threads -----------------------------------------------------

    def begin(self, session_id: int, spec: ConnectionSpec, *, is_enabled: bool) -> None:
        """Listen as a session's row says, unless somebody else does already.

        Args:
            session_id: of a session that waits.
            spec: of its site's connection, as it is now.
            is_enabled: whether that shall be connected.
        """
        session = discovery_sessions.claim(session_id)
        if session is None:
            return
        problem = spec.problem or ("" if is_enabled else "The connection was stopped")
        if problem:
            discovery_sessions.close(session_id, SessionState.FAILED, problem)
            return
        self._listen(session, spec)

    def _listen(self, session: DiscoverySession, spec: ConnectionSpec) -> None:
        listening = Listening(
            session.pk,
            spec,
            duration_s=session.duration_s,
            filters=session.filters,
            changed=self._wake.set,
        )
        others = Site.objects.exclude(pk=session.site_id)
        listening.others = frozenset(others.values_list("code", flat=True))
        listening.mapped = _mapped_topics(session.site_id)
        discovery_sessions.announce(session)  # before there is anything newer to say
        with self._lock:
            self._sessions[session.pk] = listening
        self._supervisor.admit(listening)
        if self._is_draining:  # since a moment
            self.drain()
        self._wake.set()
        log.info("discovery session_id=%d site_id=%d", session.pk, session.site_id)

    def end_site(self, site_id: int, detail: str) -> None:
        """End what listens for a site that shall not be connected any more."""
        self._end(lambda s: s.site_id == site_id, SessionState.FINISHED, detail)

    def abandon(self, shard: int) -> None:
        """End what listens for a shard that somebody else owns."""
        self._end(
            lambda s: s.shard == shard,
            SessionState.FAILED,
            "Another worker took over the site",
        )

    def drain(self) -> None:
        """End all sessions, then the thread; quick, and safe to repeat."""
        self._is_draining = True
        self._end(lambda _: True, SessionState.FINISHED, "The worker was stopped")
        self._wake.set()

    def _end(
        self, which: Callable[[Listening], bool], state: SessionState, detail: str
    ) -> None:
        for listening in self._all():
            if which(listening):
                self._post_end(listening, state, detail)

    def _post_end(
        self, listening: Listening, state: SessionState, detail: str = ""
    ) -> None:
        self._supervisor.post(lambda: listening.end(state, detail))

    def _all(self) -> list[Listening]:
        with self._lock:
            return list(self._sessions.values())

    @property
    def session_ids(self) -> list[int]:
        with self._lock:
            return list(self._sessions)

    @property
    def count(self) -> int:
        return len(self._sessions)

    # -- this thread -----------------------------------------------------------

    def run(self) -> None:
        """Write down once a second while somebody listens, until drained."""
        while not (self._is_draining and not self._sessions):
            self._wake.wait(WRITE_EVERY_S if self._sessions else None)
            self._wake.clear()
            for listening in self._all():
                try:
                    with limited(ANSWER_S):
                        self._write(listening)
                except _AWAY as error:
                    log.warning("sightings not stored: %s", type(error).__name__)
                    connection.close()
                except Exception:  # a fault of ours costs the session, not the worker
                    log.exception("session failed session_id=%d", listening.session_id)
                    self._post_end(listening, SessionState.FAILED)
                    self._forget(listening)
            if not self._sessions:
                connection.close()
        connection.close()

    def _write(self, listening: Listening) -> None:
        """Store what came since the last time, and how far the session is."""
        outcome = listening.outcome  # before the look: nothing comes after it
        heard = listening.take_heard()
        topics: list[str] = []
        try:
            while heard.seen or heard.dropped:
                topics += self._store(listening.site_id, heard)
        except IntegrityError:  # the site is gone, and the session's row with it
            self._post_end(listening, SessionState.FAILED)
            self._forget(listening)
            return
        except _AWAY:
            listening.give_back(heard)
            raise
        if not self._count(listening, outcome):  # closed by a person, or as overdue
            self._post_end(listening, SessionState.FINISHED)
        if outcome is not None:
            self._forget(listening)
            log.info(
                "discovery over session_id=%d messages=%d topics=%d: %s",
                listening.session_id,
                listening.messages,
                listening.topics,
                outcome[1] or outcome[0].value,
            )
        else:
            listening.mapped = _mapped_topics(listening.site_id)
        self._announce(listening, topics)

    def _store(self, site_id: int, heard: Heard) -> list[str]:
        """Store a part of it, which is in `heard` no more; return topics to show."""
        part = dict(islice(heard.seen.items(), TOPICS_A_WRITE))
        with transaction.atomic():
            discovery.note(part, {site_id: heard.dropped})
        for key in part:
            del heard.seen[key]
        heard.dropped = 0
        return [topic for _, topic in part]

    def _count(
        self, listening: Listening, outcome: tuple[SessionState, str] | None
    ) -> bool:
        """Write the session's totals, and its end; return whether it was still open."""
        row = DiscoverySession.objects.filter(pk=listening.session_id)
        totals: dict[str, Any] = {
            "messages": listening.messages,
            "topics": listening.topics,
        }
        news: dict[str, Any] = {}
        if listening.started_at is not None:
            totals["started_at"] = listening.started_at
            news = {"state": SessionState.RUNNING}
        if outcome is not None:
            state, detail = outcome
            news = {"state": state, "ended_at": timezone.now(), "detail": detail[:300]}
        if row.filter(state__in=discovery_sessions.OPEN).update(**totals, **news):
            return True
        row.update(**totals)
        return False

    def _forget(self, listening: Listening) -> None:
        with self._lock:
            self._sessions.pop(listening.session_id, None)

    def _announce(self, listening: Listening, topics: list[str]) -> None:
        session = DiscoverySession.objects.filter(pk=listening.session_id).first()
        if session is not None:
            shown = discovery.news_about(listening.site_id, topics[:TOPICS_AN_EVENT])
            discovery_sessions.announce(session, shown)


def _mapped_topics(site_id: int) -> frozenset[int]:
    rows = TopicMapping.objects.filter(site_id=site_id, is_active=True)
    topics = rows.exclude(topic="").values_list("topic", flat=True)
    return frozenset(hash(topic.encode()) for topic in topics)
