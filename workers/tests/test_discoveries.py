"""The thread that writes down what discovery sessions hear."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from django.db import OperationalError, connections

from apps.devices import discovery, discovery_sessions
from apps.devices.models import DiscoveredTopic, DiscoverySession, SessionState
from apps.sites.models import ConnectionStats, Site
from apps.sites.services import connection_of, site_create
from apps.telemetry.models import TopicMapping
from workers.discovery import Discoveries
from workers.link import Link
from workers.listening import Listening
from workers.pahoclient import Publish
from workers.spec import ConnectionSpec
from workers.supervisor import Supervisor
from workers.tests.fakes import FakeLink, a_spec

pytestmark = pytest.mark.django_db(transaction=True)

Told = list[dict[str, Any]]


class Loop:
    """A supervisor whose network thread is the test's; its links are taken at once."""

    def __init__(self) -> None:
        self.guests: list[Listening] = []
        self.is_answered = True

    def post(self, work: Callable[[], None]) -> None:
        work()

    def admit(self, guest: Listening) -> None:
        self.guests.append(guest)
        guest.start(cast("Any", self))
        link = cast("FakeLink", guest.link)
        link.was_accepted = True
        guest.link_opened(cast("Link", link), None)
        guest.link_accepted(cast("Link", link), session_present=False)
        if self.is_answered:
            self.answer(guest)

    def answer(self, guest: Listening) -> None:
        guest.link_subscribed(cast("Link", guest.link), 1, [])

    def open_link(self, spec: ConnectionSpec, owner: Any, sink: Any = None) -> Link:
        return cast("Link", FakeLink(spec, owner, sink))

    def forget_link(self, link: Link) -> None:
        """Nothing watches here."""


def say(guest: Listening, *topics: str) -> None:
    for topic in topics:
        guest._take(
            cast("Link", guest.link), Publish(topic.encode(), b"1", 0, False, False, 0)
        )


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def site(db: None) -> Site:
    site = site_create(name="Here", code="here")
    connection_of(site)
    return site


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    events: Told = []

    def emit(_channels: object, _event: str, data: dict[str, Any]) -> bool:
        events.append(data)
        return True

    monkeypatch.setattr(discovery_sessions.events, "emit", emit)
    return events


@pytest.fixture
def discoveries(told: Told) -> Iterator[tuple[Discoveries, Loop]]:
    loop = Loop()
    discoveries = Discoveries(cast("Supervisor", loop))

    def run() -> None:
        discoveries.run()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    yield discoveries, loop
    discoveries.drain()
    thread.join(20)
    assert not thread.is_alive()


def begin(discoveries: Discoveries, site: Site, **but: Any) -> DiscoverySession:
    session = DiscoverySession.objects.create(site=site, username="u", duration_s=60)
    discoveries.begin(
        session.pk, a_spec(site_id=site.pk, code="here", **but), is_enabled=True
    )
    return session


def ended(session: DiscoverySession) -> DiscoverySession:
    def is_over() -> bool:
        session.refresh_from_db()
        return session.state in (SessionState.FINISHED, SessionState.FAILED)

    until(is_over)
    return session


def test_what_is_heard_is_stored_announced_and_counted(
    site: Site, discoveries: tuple[Discoveries, Loop], told: Told
) -> None:
    session = begin(discoveries[0], site)
    [guest] = discoveries[1].guests

    say(guest, "here/a", "here/a", "here/b", "here/datalogger/m/1/data")
    until(lambda: DiscoveredTopic.objects.count() == 2)
    guest.end(SessionState.FINISHED)
    ended(session)

    assert (session.state, session.messages, session.topics) == ("finished", 4, 2)
    assert session.started_at is not None
    assert DiscoveredTopic.objects.get(topic="here/a").message_count == 2
    until(lambda: told[-1]["session"]["state"] == "finished")
    assert told[0]["session"]["state"] == "waiting"
    assert {t["topic"] for data in told for t in data["topics"]} == {"here/a", "here/b"}


def test_it_has_started_when_the_broker_answers_and_not_when_it_is_taken(
    site: Site, discoveries: tuple[Discoveries, Loop], told: Told
) -> None:
    discoveries[1].is_answered = False
    session = begin(discoveries[0], site)
    [guest] = discoveries[1].guests
    until(lambda: len(told) > 1)  # what is said first, and the thread's first look
    before = list(told)

    discoveries[1].answer(guest)
    until(lambda: told[-1]["session"]["started_at"])

    session.refresh_from_db()
    said = {
        (data["session"]["state"], data["session"]["started_at"]) for data in before
    }
    assert said == {("waiting", None)}
    assert (session.state, session.started_at) == ("running", guest.started_at)


def test_a_database_that_is_away_costs_nothing(
    site: Site, discoveries: tuple[Discoveries, Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    note, away = discovery.note, [True, True]

    def note_sometimes(*given: Any) -> list[int]:
        if away:
            away.pop()
            raise OperationalError
        return note(*given)

    monkeypatch.setattr(discovery, "note", note_sometimes)
    session = begin(discoveries[0], site)
    [guest] = discoveries[1].guests

    say(guest, *(f"here/{n}" for n in range(1_200)))
    guest.end(SessionState.FINISHED)
    ended(session)

    assert not away
    assert DiscoveredTopic.objects.count() == 1_200
    assert set(DiscoveredTopic.objects.values_list("message_count", flat=True)) == {1}
    assert ConnectionStats.objects.get().topics_dropped == 0


def test_a_session_that_a_person_closed_ends_here(
    site: Site, discoveries: tuple[Discoveries, Loop]
) -> None:
    session = begin(discoveries[0], site)
    [guest] = discoveries[1].guests
    say(guest, "here/a")

    discovery_sessions.close(session.pk, SessionState.FINISHED, "Stopped by root")
    until(lambda: guest.is_over and not discoveries[0].count)

    ended(session)
    assert (session.detail, session.topics) == ("Stopped by root", 1)


def test_a_topic_that_gets_a_mapping_is_left_alone(
    site: Site, discoveries: tuple[Discoveries, Loop]
) -> None:
    begin(discoveries[0], site)
    [guest] = discoveries[1].guests

    TopicMapping.objects.create(
        site=site, topic="here/a", digest=discovery.topic_digest("here/a"), values=[]
    )
    until(lambda: guest.mapped)
    say(guest, "here/a", "here/b")
    until(DiscoveredTopic.objects.exists)

    assert DiscoveredTopic.objects.get().topic == "here/b"


@pytest.mark.parametrize(
    ("act", "state", "detail"),
    [
        (lambda d, site: d.drain(), "finished", "The worker was stopped"),
        (lambda d, site: d.abandon(1), "failed", "Another worker took over the site"),
        (lambda d, site: d.end_site(site.pk, "Over"), "finished", "Over"),
    ],
)
def test_it_says_why_it_ended(
    site: Site,
    discoveries: tuple[Discoveries, Loop],
    act: Callable[[Discoveries, Site], None],
    state: str,
    detail: str,
) -> None:
    session = begin(discoveries[0], site)
    discoveries[0].abandon(0)
    discoveries[0].end_site(site.pk + 1, "Not this one")
    say(discoveries[1].guests[0], "here/last")

    act(discoveries[0], site)
    ended(session)

    assert (session.state, session.detail) == (state, detail)
    assert DiscoveredTopic.objects.get().topic == "here/last"


def test_a_site_that_is_deleted_takes_its_session_along(
    site: Site, discoveries: tuple[Discoveries, Loop]
) -> None:
    begin(discoveries[0], site)
    [guest] = discoveries[1].guests
    site.delete()

    say(guest, "here/a")

    until(lambda: guest.is_over and not discoveries[0].count)
    assert not DiscoveredTopic.objects.exists()


def test_settings_that_cannot_be_used_fail_it(
    site: Site, discoveries: tuple[Discoveries, Loop]
) -> None:
    session = begin(discoveries[0], site, problem="No broker host is set")

    ended(session)

    assert (session.state, session.detail) == ("failed", "No broker host is set")
    assert discoveries[1].guests == []
