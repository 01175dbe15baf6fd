"""The keeper of leases: what it knows when the database, or it itself, was away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import OperationalError

from apps.sites import leases
from apps.sites.models import ShardLease
from workers.lease import SETTLE_S, LeaseKeeper
from workers.standing import Claim

pytestmark = pytest.mark.django_db


class Stage:
    """A keeper of shard 3 with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.gained: list[tuple[int, int]] = []
        self.lost: list[int] = []
        self.refuse_gain = False
        self.keeper = LeaseKeeper(
            "mqtt0@here",
            [3],
            gained=self.gain,
            lost=self.lost.append,
            serve=lambda _: True,
            clock=lambda: self.now,
        )

    def gain(self, shard: int, epoch: int) -> None:
        if self.refuse_gain:
            raise OperationalError
        self.gained.append((shard, epoch))

    def owning(self) -> Stage:
        self.keeper.turn()
        assert self.keeper.claim(3) is Claim.HELD
        return self


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    # The keeper closes its connection after an error; here it is the test's.
    kept = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr("workers.lease.connection", kept)
    return Stage()


def away(*_: object, **__: object) -> None:
    raise OperationalError


def taken_by_another() -> None:
    ShardLease.objects.update(owner="mqtt1@there", epoch=2)


def test_a_free_shard_is_taken_and_announced_once(stage: Stage):
    stage.owning()
    stage.keeper.turn()

    assert stage.gained == [(3, 1)]
    assert stage.keeper.epochs == {3: 1}


def test_a_shard_of_a_living_owner_is_left_alone(stage: Stage):
    leases.take(3, "mqtt1@there")

    stage.keeper.turn()

    assert stage.keeper.epochs == {}
    assert leases.states()[3].owner == "mqtt1@there"


def test_what_could_not_be_announced_is_announced_at_the_next_turn(stage: Stage):
    stage.refuse_gain = True
    stage.keeper.turn()
    stage.refuse_gain = False

    stage.keeper.turn()

    assert stage.gained == [(3, 1)]


def test_a_lease_that_another_has_taken_is_let_go(stage: Stage):
    stage.owning()
    taken_by_another()

    stage.now += leases.RENEW_EVERY_S
    stage.keeper.turn()

    assert stage.lost == [3]
    assert stage.keeper.epochs == {}


def test_without_the_database_we_are_unsure_once_the_lease_has_run_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    stage.owning()
    monkeypatch.setattr(leases, "renew", away)

    claims = []
    for _ in range(4):
        stage.now += 5
        stage.keeper.turn()
        claims.append(stage.keeper.claim(3))

    assert claims == [Claim.HELD, Claim.HELD, Claim.UNSURE, Claim.UNSURE]
    assert stage.keeper.epochs == {3: 1}  # nobody else can take it either
    assert not stage.keeper.is_in_doubt  # we do look


def test_a_database_that_comes_back_makes_us_sure_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    stage.owning()
    with monkeypatch.context() as broken:
        broken.setattr(leases, "renew", away)
        for _ in range(3):
            stage.now += 100
            stage.keeper.turn()

    for _ in range(2):
        stage.keeper.turn()

    assert stage.keeper.claim(3) is Claim.HELD
    assert stage.lost == []
    said = [
        r.getMessage()
        for r in caplog.records
        if (r.name, r.levelname) == ("workers.lease", "WARNING")
    ]
    assert said == ["leases not renewed: OperationalError", "leases renewed again"]


def test_after_a_freeze_nothing_is_certain_until_somebody_has_looked(stage: Stage):
    stage.owning()

    stage.now += 100
    assert stage.keeper.claim(3) is Claim.UNASKED
    assert stage.keeper.is_in_doubt

    stage.keeper.turn()
    assert stage.keeper.claim(3) is Claim.HELD
    assert not stage.keeper.is_in_doubt


def test_after_a_freeze_a_look_without_an_answer_settles_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    stage.owning()
    with monkeypatch.context() as broken:
        broken.setattr(leases, "renew", away)
        stage.now += 100
        stage.keeper.turn()
        seen = [(stage.keeper.is_in_doubt, stage.keeper.is_settling)]
        stage.now += SETTLE_S
        stage.keeper.turn()
        seen.append((stage.keeper.is_in_doubt, stage.keeper.is_settling))

    assert seen == [(False, True), (False, False)]  # an outage may last for hours


def test_an_answer_after_a_freeze_settles_it(stage: Stage):
    stage.owning()

    stage.keeper.woke()  # a freeze too short to doubt every lease
    seen = [stage.keeper.is_settling]
    stage.keeper.turn()
    seen.append(stage.keeper.is_settling)

    assert seen == [True, False]
    taken_by_another()
    stage.keeper.woke()
    stage.keeper.turn()  # it does ask, though nothing is due
    assert stage.lost == [3]


def test_an_outage_alone_has_nothing_to_settle(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    stage.owning()
    monkeypatch.setattr(leases, "renew", away)

    for _ in range(20):
        stage.now += 5
        stage.keeper.turn()
        assert not stage.keeper.is_settling


def test_a_renewal_in_which_we_were_frozen_proves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """The server answered before, we read it after, and somebody came in between."""
    stage.owning()
    renew = leases.renew

    def frozen_meanwhile(shard: int, owner: str, epoch: int) -> bool:
        answer = renew(shard, owner, epoch)
        stage.now += 100
        return answer

    stage.now += leases.RENEW_EVERY_S
    with monkeypatch.context() as slow:
        slow.setattr(leases, "renew", frozen_meanwhile)
        assert stage.keeper.turn() == 0.0  # look again at once
    assert stage.keeper.claim(3) is Claim.UNASKED

    taken_by_another()
    stage.keeper.turn()
    assert stage.lost == [3]


def test_a_look_that_is_asked_for_renews_before_it_is_due(stage: Stage):
    stage.owning()
    taken_by_another()
    stage.keeper.turn()
    assert stage.lost == []  # not due yet

    stage.keeper.look()
    stage.keeper.turn()

    assert stage.lost == [3]


def test_a_shard_whose_row_is_locked_does_not_keep_us_from_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    stage.keeper.shards = (3, 4)
    stage.keeper.turn()
    renew = leases.renew

    class LockNotAvailable(Exception):
        pgcode = "55P03"

    def locked(shard: int, owner: str, epoch: int) -> bool:
        if shard == 3:
            raise OperationalError from LockNotAvailable()
        return renew(shard, owner, epoch)

    monkeypatch.setattr(leases, "renew", locked)
    for _ in range(4):
        stage.now += 5
        stage.keeper.turn()

    assert stage.keeper.claim(3) is Claim.UNSURE
    assert stage.keeper.claim(4) is Claim.HELD


def test_a_fenced_batch_lets_go_at_once(stage: Stage):
    stage.owning()

    stage.keeper.was_fenced({3})

    assert stage.lost == [3]
    assert stage.keeper.claim(3) is not Claim.HELD


def test_what_is_released_is_free(stage: Stage):
    stage.owning()

    stage.keeper.release()

    assert not leases.states()[3].is_alive
