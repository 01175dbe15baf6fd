"""A process that was frozen looks whose its sites are before it says anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from apps.telemetry.facts import Message
from tests.fakebroker import FakeBroker
from workers.inbox import Inboxes
from workers.snapshot import Snapshot
from workers.spec import ConnectionSpec
from workers.standing import Claim
from workers.supervisor import Supervisor
from workers.tests.brokers import until
from workers.tests.fakes import a_spec


class Doubting:
    """A lease keeper that a test makes doubt."""

    def __init__(self) -> None:
        self.is_in_doubt = False
        self.is_settling = False
        self.looks = 0
        self.has_looked = True
        self.is_unsure = False  # the database is away

    def looked_since(self, moment: float) -> bool:
        return self.has_looked

    def claim(self, shard: int) -> Claim:
        if self.is_unsure:
            return Claim.UNSURE
        return Claim.UNASKED if self.is_in_doubt else Claim.HELD

    def look(self) -> None:
        self.looks += 1

    def woke(self) -> None:
        self.is_settling = True


class Stage:
    """A connected site that has sent a message, which is durable by now."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.keeper = Doubting()
        self.inboxes = Inboxes(1)
        self.snapshots: list[Snapshot] = []
        self.supervisor = Supervisor(
            self.inboxes, self.snapshots.append, lambda _: None, self.keeper
        )
        self.spec: ConnectionSpec = a_spec(host="127.0.0.1", port=broker.port)

    def durable(self) -> list[Message]:
        self.supervisor.ensure(self.spec)
        self.broker.wait_connects(1)
        self.broker.send(5, "site_003/datalogger/a/1/data", b"{}")
        inbox = self.inboxes.of(self.spec.connection_id)
        taken: list[Message] = until(
            lambda: inbox.take(10, 0.05), lambda: "the message"
        )
        return taken

    def freeze(self) -> None:
        self.keeper.is_in_doubt = True
        self.keeper.has_looked = False

    def look(self) -> None:
        self.keeper.has_looked = True
        self.keeper.is_in_doubt = False

    def stop_for_a_while(self) -> None:
        """Have the network thread find that it has not run for 100 s."""
        self.keeper.has_looked = False
        wake = self.supervisor._wake
        now = time.monotonic()
        self.supervisor.post(lambda: setattr(wake, "_marked_at", now - 100))
        until(lambda: self.keeper.looks, lambda: "it asks")

    def waiting(self) -> int:
        return self.inboxes.of(self.spec.connection_id).depth


@pytest.fixture
def stage() -> Iterator[Stage]:
    with FakeBroker() as broker:
        made = Stage(broker)
        thread = threading.Thread(target=made.supervisor.run)
        thread.start()
        yield made
        made.look()
        made.supervisor.stop(10)
        thread.join(10)


def test_nothing_is_acknowledged_before_somebody_has_looked(stage: Stage):
    messages = stage.durable()

    stage.freeze()
    stage.supervisor.acknowledge(messages)
    until(lambda: stage.keeper.looks, lambda: "it asks")
    time.sleep(0.3)
    assert stage.broker.pubacks == []

    stage.look()  # it is ours
    until(lambda: stage.broker.pubacks == [5], lambda: "the PUBACK")


def test_nothing_is_acknowledged_when_somebody_else_owns_it_by_now(stage: Stage):
    messages = stage.durable()

    stage.freeze()
    stage.supervisor.acknowledge(messages)
    until(lambda: stage.keeper.looks, lambda: "it asks")
    stage.supervisor.abandon(stage.spec.shard)
    stage.look()  # it is not
    until(lambda: not stage.supervisor.summary(), lambda: "it is let go")
    time.sleep(0.3)

    assert stage.broker.pubacks == []


def test_no_link_is_opened_before_somebody_has_looked(stage: Stage):
    stage.freeze()
    stage.supervisor.ensure(stage.spec)
    until(lambda: stage.keeper.looks, lambda: "it asks")
    time.sleep(0.3)
    assert stage.broker.connects == 0

    stage.look()
    stage.broker.wait_connects(1)


# -- what lies in the sockets --------------------------------------------------

TOPIC = "site_003/datalogger/a/1/data"


def woken(stage: Stage) -> int:
    """Return what waits in the inbox; two more messages lie in the socket."""
    stage.durable()
    before = stage.waiting()
    stage.stop_for_a_while()
    stage.broker.send(6, TOPIC, b"{}")
    stage.broker.send(7, TOPIC, b"{}")
    time.sleep(0.3)
    assert stage.waiting() == before
    return before


def test_after_a_freeze_sockets_are_read_once_the_lease_is_confirmed(stage: Stage):
    before = woken(stage)

    stage.look()

    until(lambda: stage.waiting() == before + 2, lambda: "the messages")
    assert stage.broker.connects == 1


def test_after_a_freeze_nothing_is_read_of_a_shard_that_was_lost_and_taken_again(
    stage: Stage,
):
    before = woken(stage)

    stage.supervisor.abandon(stage.spec.shard)
    stage.look()
    until(lambda: not stage.supervisor.summary(), lambda: "it is let go")
    time.sleep(0.3)

    assert stage.waiting() == before


def test_after_a_freeze_without_the_database_the_link_is_made_anew(stage: Stage):
    before = woken(stage)

    stage.keeper.is_unsure = True
    stage.look()
    until(lambda: stage.snapshots[-1].status == "error", lambda: "it is cut")

    assert stage.waiting() == before
    assert stage.snapshots[-1].reason == "lost"
    stage.broker.wait_connects(2)  # one try is free
    until(lambda: stage.snapshots[-1].status == "connected", lambda: "it is up")
