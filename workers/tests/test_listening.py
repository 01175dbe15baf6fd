"""A discovery session on the wire: what it listens to, what it notes, how it ends."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from apps.devices.models import SessionState
from workers import listening as module
from workers.link import Link, Owner, Sink
from workers.listening import Listening
from workers.pahoclient import Publish
from workers.spec import ConnectionSpec
from workers.tests.fakes import FakeLink, a_spec

CODE = b"site_003"


class Visit:
    """A session, with the broker's side played by the test."""

    def __init__(
        self, spec: ConnectionSpec | None = None, filters: tuple[str, ...] = ()
    ) -> None:
        self.links: list[FakeLink] = []
        self.overs = 0
        self.listening = Listening(
            9, spec or a_spec(), duration_s=60, filters=filters, changed=self._change
        )
        self.listening.start(self)

    def _change(self) -> None:
        self.overs += self.listening.is_over

    def open_link(
        self, spec: ConnectionSpec, owner: Owner, sink: Sink | None = None
    ) -> Link:
        self.links.append(FakeLink(spec, owner, sink))
        return cast("Link", self.links[-1])

    def forget_link(self, link: Link) -> None:
        """Nothing watches here."""

    @property
    def link(self) -> Any:
        return self.links[-1]

    def open(self) -> Visit:
        assert self.listening.link_opened(self.link, None)
        self.link.was_accepted = True
        self.listening.link_accepted(self.link, session_present=False)
        return self

    def listen(self) -> Visit:
        self.open().listening.link_subscribed(self.link, 1, [])
        return self

    def say(self, *topics: bytes, payload: bytes = b"1") -> None:
        for topic in topics:
            self.link.sink(self.link, Publish(topic, payload, 0, False, False, 0))

    def heard(self) -> dict[str, int]:
        seen = self.listening.take_heard().seen
        return {topic: sighting.count for (_, topic), sighting in seen.items()}


def test_it_is_a_visit_of_its_own() -> None:
    visit = Visit(filters=("other/#", "site_003/#")).listen()

    spec = visit.link.spec
    assert spec.client_id == "site_3_test_discover"
    assert (spec.clean_session, spec.has_will) == (True, False)
    assert visit.link.said == [("subscribe", "site_003/#", "other/#")]
    assert {qos for _, qos in spec.filters} == {0}


def test_it_notes_what_nobody_claims() -> None:
    visit = Visit().listen()
    visit.listening.others = frozenset({"site_004"})
    visit.listening.mapped = frozenset({hash(CODE + b"/mapped")})

    visit.say(
        CODE + b"/datalogger/monstro/15/data",
        CODE + b"/gateway/1/heartbeat",
        CODE + b"/backend/status",
        CODE + b"/mapped",
        b"site_004/secret",
        CODE + b"/valve",
        CODE + b"/valve",
        CODE,
        b"site_0030/x",
        b"\xff\xfe",
    )

    assert visit.heard() == {
        "site_003/valve": 2,
        "site_003": 1,
        "site_0030/x": 1,
        "\\xff\\xfe": 1,
    }
    assert (visit.listening.messages, visit.listening.topics) == (10, 4)


def test_what_ingest_gets_as_well_is_not_counted_twice() -> None:
    spec = a_spec(filters=(("site_003/mine/#", 1),))
    visit = Visit(spec).listen()

    visit.say(CODE + b"/mine/1", CODE + b"/mine/1", CODE + b"/other")

    assert visit.heard() == {"site_003/other": 1}
    assert visit.listening.topics == 2


def test_a_topic_that_gets_a_mapping_meanwhile_is_no_discovery_any_more() -> None:
    visit = Visit().listen()
    visit.say(CODE + b"/valve")
    visit.heard()

    visit.listening.mapped = frozenset({hash(CODE + b"/valve")})
    visit.say(CODE + b"/valve")

    assert visit.heard() == {}


def test_memory_is_bounded_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_HEARD", 3)
    monkeypatch.setattr(module, "FULL_BYTES", 40_000)
    visit = Visit().listen()
    for n in range(5):
        visit.say(b"t/%d" % n, payload=b"x" * 100_000)

    heard = visit.listening.take_heard()
    visit.say(b"t/0", b"t/9", payload=b"new")
    visit.listening.give_back(heard)
    again = visit.listening.take_heard()

    assert [len(s.payload) for s in heard.seen.values()][1:] == [16_384, 16_384]
    assert {topic: s.count for (_, topic), s in again.seen.items()} == {
        "t/0": 2,
        "t/1": 1,
        "t/2": 1,
    }
    assert again.seen[3, "t/0"].payload == b"new"
    assert again.dropped == 3


def test_large_payloads_are_cut_when_there_are_many() -> None:
    visit = Visit().listen()

    for n in range(600):
        visit.say(b"t/%d" % n, payload=b"x" * 100_000)

    sizes = {len(s.payload) for s in visit.listening.take_heard().seen.values()}
    assert sizes == {16_384, 4_096}


@pytest.mark.parametrize("bound", ["MAX_MESSAGES", "MAX_DISTINCT"])
def test_a_flood_ends_it_early(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(module, bound, 10)
    visit = Visit().listen()

    visit.say(*(b"t/%d" % n for n in range(100)))
    visit.listening.tick(time.monotonic())

    assert len(visit.heard()) == 10
    assert visit.listening.outcome is not None
    state, detail = visit.listening.outcome
    assert (state, "Ended early, after 10" in detail) == (SessionState.FINISHED, True)
    assert visit.link.said[-1] == ("disconnect", False)


def test_it_ends_when_its_time_is_over() -> None:
    visit = Visit().listen()
    now = time.monotonic()

    visit.listening.tick(now + 50)
    was_over = visit.listening.is_over
    visit.listening.tick(now + 61)
    visit.listening.tick(now + 62)
    visit.say(b"late")

    assert not was_over
    assert visit.listening.outcome == (SessionState.FINISHED, "")
    assert visit.link.is_closed
    assert visit.overs == 1
    assert visit.heard() == {}


def test_a_broker_that_cannot_be_reached_fails_it() -> None:
    visit = Visit()

    is_watched = visit.listening.link_opened(visit.link, ConnectionRefusedError("no"))

    assert not is_watched
    assert visit.listening.outcome == (
        SessionState.FAILED,
        "The host does not take the connection: no",
    )


def test_refusals_fail_it_with_the_broker_s_words() -> None:
    auth, filters = Visit(), Visit(filters=("secret/#",)).open()

    auth.listening.link_opened(auth.link, None)
    auth.listening.link_refused(auth.link, 0x87, "Not authorized")
    filters.listening.link_subscribed(filters.link, 1, ["secret/#"])

    assert auth.listening.outcome == (
        SessionState.FAILED,
        "The broker refused us: Not authorized",
    )
    assert filters.listening.outcome == (
        SessionState.FAILED,
        "The broker refused: secret/#",
    )


def test_a_lost_connection_fails_it() -> None:
    visit = Visit().listen()

    visit.listening.link_closed(visit.link)

    assert visit.listening.outcome == (
        SessionState.FAILED,
        "The connection to the broker was lost",
    )
    assert visit.overs == 1


def test_a_broker_that_says_nothing_fails_it() -> None:
    visit = Visit().open()

    visit.listening.tick(time.monotonic() + 11)

    assert visit.listening.outcome == (
        SessionState.FAILED,
        "The broker did not answer in time",
    )


def test_an_end_while_it_dials_closes_what_was_dialled() -> None:
    visit = Visit()

    visit.listening.end(SessionState.FINISHED, "The worker was stopped")
    is_watched = visit.listening.link_opened(visit.link, None)

    assert not is_watched
    assert visit.link.said == [("close",)]
    assert visit.listening.outcome == (
        SessionState.FINISHED,
        "The worker was stopped",
    )


def test_a_goodbye_that_does_not_fit_closes_the_socket() -> None:
    visit = Visit().listen()
    visit.link.is_stuck = True

    visit.listening.end(SessionState.FINISHED)

    assert visit.link.is_closed
    assert visit.overs == 1
