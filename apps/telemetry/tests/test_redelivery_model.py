"""Whatever the broker, the link and the workers do: each message is stored once.

A model of a broker against the real comparison; what is remembered is a list here. One
run at the end goes through the database.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.sites import deliveries
from apps.sites.models import ConnectionStats
from apps.telemetry import redelivery
from apps.telemetry.accounting import write_tallies
from apps.telemetry.facts import Message
from apps.telemetry.ingest import count_received
from apps.telemetry.tests.batches import Feed

IDS = 400  # so that they wrap within a test; a real broker has 65,535
REACH = 200
WINDOW = 60  # messages that the broker has on their way at the most


@dataclass
class Past:
    """What is remembered, in the order of writing."""

    entries: list[bytes] = field(default_factory=list)

    def load_newest(self, _ids: Sequence[int], most: int) -> dict[int, bytes]:
        newest = sorted(self.entries)[-most // deliveries.ENTRY_BYTES :]
        return {1: b"".join(newest)}

    def load_all(self, _ids: Sequence[int]) -> dict[int, bytes]:
        return {1: b"".join(self.entries)}

    def write(self, messages: list[Message], repeats: set[int]) -> None:
        packed = redelivery.pack(messages, repeats).every.get(1, b"")
        step = deliveries.ENTRY_BYTES
        self.entries += [packed[at : at + step] for at in range(0, len(packed), step)]


def next_id(last: int, taken: dict[int, bytes]) -> int:
    """Count up and begin anew, as mosquitto and EMQX do."""
    mid = last % IDS + 1
    while mid in taken:
        mid = mid % IDS + 1
    return mid


def lowest_id(_last: int, taken: dict[int, bytes]) -> int:
    """Take the lowest that is free, as HiveMQ does: an id is used again at once."""
    return next(mid for mid in range(1, IDS) if mid not in taken)


class World:
    """A broker that delivers at least once and in order, a link, and our side."""

    def __init__(
        self,
        write: Callable[[list[Message], set[int]], None],
        *,
        new_id: Callable[[int, dict[int, bytes]], int] = next_id,
        connection_id: int = 1,
    ) -> None:
        self._write = write
        self._new_id = new_id
        self._connection_id = connection_id
        self.clock_us = 1_700_000_000_000_000
        self.published: list[bytes] = []
        self.stored: list[bytes] = []
        self.waiting: list[bytes] = []  # at the broker
        self.flying: dict[int, bytes] = {}  # sent, no PUBACK seen
        self.inbox: list[Message] = []
        self.spool: list[Message] = []
        self.is_deaf = False  # what the broker sends does not arrive
        self.is_mute = False  # our PUBACKs do not arrive
        self._last_id = 0

    def _message(self, mid: int, payload: bytes, *, dup: bool) -> Message:
        self.clock_us += 1_000
        return Message(
            0, 1, self._connection_id, 1, b"t", payload, 1, False, dup, mid,
            self.clock_us,
        )  # fmt: skip

    def publish(self, payloads: Sequence[bytes]) -> None:
        self.published += payloads
        self.waiting += payloads
        self._send()

    def _send(self) -> None:
        while self.waiting and len(self.flying) < WINDOW:
            mid = self._last_id = self._new_id(self._last_id, self.flying)
            self.flying[mid] = payload = self.waiting.pop(0)
            if not self.is_deaf:
                self.inbox.append(self._message(mid, payload, dup=False))

    def commit(self) -> None:
        batch, self.inbox = self.inbox, []
        repeats = redelivery.find_repeats(batch)
        self._keep(batch, repeats)
        self._acknowledge(batch)

    def keep_for_later(self) -> None:
        """The database is away: durable in the spool, and acknowledged."""
        self.spool += self.inbox
        batch, self.inbox = self.inbox, []
        self._acknowledge(batch)

    def drain(self, most: int) -> None:
        batch, self.spool = self.spool[:most], self.spool[most:]
        self._keep(batch, redelivery.find_repeats(batch, is_late=True))

    def _keep(self, batch: list[Message], repeats: set[int]) -> None:
        self._write(batch, repeats)
        self.stored += [
            message.payload for at, message in enumerate(batch) if at not in repeats
        ]

    def _acknowledge(self, batch: list[Message]) -> None:
        if not self.is_mute:
            for message in batch:
                self.flying.pop(message.mid, None)
            self._send()

    def reconnect(self, *, is_crash: bool = False) -> None:
        """Connect again, perhaps as another process; what flew comes with DUP."""
        if is_crash:
            self.inbox.clear()
        self.is_mute = True  # PUBACKs of what is in hand are for the old link
        self.commit()
        self.is_deaf = self.is_mute = False
        for mid, payload in self.flying.items():
            self.inbox.append(self._message(mid, payload, dup=True))
        self._send()

    def come_to_rest(self) -> None:
        self.reconnect()
        while self.waiting or self.flying or self.inbox:
            self.commit()
        self.drain(len(self.spool))


ON_LINE = {"publish", "commit", "deaf", "mute", "reconnect", "crash"}
ALL_ACTS = ON_LINE | {"away", "drain"}
ACTS = st.sampled_from(
    ["publish"] * 6
    + ["commit"] * 4
    + ["deaf", "mute", "mute", "reconnect", "crash", "away", "away", "drain"]
)
STEPS = st.lists(st.tuples(ACTS, st.integers(1, 50)), max_size=80)


def act(world: World, what: str, number: int, payloads: Sequence[bytes]) -> None:
    if what == "publish":
        world.publish(payloads)
    elif what == "commit":
        world.commit()
    elif what == "deaf":
        world.is_deaf = world.is_mute = True
    elif what == "mute":
        world.is_mute = True
    elif what == "away":
        world.keep_for_later()
    elif what == "drain":
        world.drain(number)
    else:
        world.reconnect(is_crash=what == "crash")


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch) -> Past:
    past = Past()
    monkeypatch.setattr(redelivery, "REACH", REACH)
    monkeypatch.setattr(deliveries, "load_newest", past.load_newest)
    monkeypatch.setattr(deliveries, "load_all", past.load_all)
    return past


def check(world: World) -> None:
    world.come_to_rest()
    assert sorted(world.stored) == sorted(world.published)


def live(world, steps, payloads, *, acts=ALL_ACTS):
    """Have all of a history happen; `payloads` makes the messages of a step."""
    for place, (what, number) in enumerate(steps):
        if what in acts:
            act(world, what, number, payloads(place, number))
    check(world)


def equal(_place, number):
    return [b"21.5"] * number


def different(place, number):
    return [b"%d-%d" % (place, n) for n in range(number)]


ANYTIME = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANYTIME
@given(steps=STEPS)
def test_equal_readings_are_as_many_as_were_published(past, steps):
    """Constant values, ids that count up and begin anew, PUBACKs and messages lost."""
    past.entries.clear()
    live(World(past.write), steps, equal, acts=ON_LINE)


@ANYTIME
@given(steps=STEPS)
def test_an_id_that_is_used_again_at_once_hides_no_new_message(past, steps):
    past.entries.clear()
    world = World(past.write, new_id=lowest_id)
    live(world, steps, different, acts=ON_LINE)


@ANYTIME
@given(steps=STEPS)
def test_equal_readings_under_one_id_are_all_stored_while_they_arrive(past, steps):
    """What is lost on its way is another matter: nothing tells it from a redelivery."""
    past.entries.clear()
    world = World(past.write, new_id=lowest_id)
    live(world, steps, equal, acts={"publish", "commit", "mute", "reconnect"})


@ANYTIME
@given(steps=STEPS)
def test_what_waited_in_a_spool_is_stored_once_whatever_came_meanwhile(past, steps):
    past.entries.clear()
    live(World(past.write), steps, different)


def test_so_it_is_with_the_database(north, monkeypatch):
    monkeypatch.setattr(redelivery, "REACH", REACH)
    chance = random.Random(5)
    connection_id = Feed(north).connection.pk

    def write(messages: list[Message], repeats: set[int]) -> None:
        tallies = count_received(messages, repeats)
        write_tallies(tallies, redelivery.pack(messages, repeats))

    world = World(write, connection_id=connection_id)
    acts = ["publish", "publish", "commit", "mute", "away", "drain", "deaf",
            "reconnect", "crash"]  # fmt: skip
    steps = [(chance.choice(acts), chance.randrange(1, 50)) for _ in range(120)]
    live(world, steps, different)

    assert ConnectionStats.objects.get(connection=connection_id).duplicate > 100
