"""The decision of the reconcile, as a table of everything that can meet."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from apps.sites.plan import Action, Desired, Observed, Ownership, plan

WANTED = Desired(
    is_enabled=True,
    generation=5,
    status="connected",
    reason="",
    report_epoch=3,
    report_seq=10,
)
UNWANTED = replace(WANTED, is_enabled=False, status="disabled")
SAYS = Observed(generation=5, epoch=3, seq=11, status="connected", reason="")
ALIVE = Ownership(epoch=3, is_alive=True)
DEAD = Ownership(epoch=3, is_alive=False)

OLD_EPOCH = replace(SAYS, epoch=2, seq=99)
OLD_GENERATION = replace(SAYS, generation=4)


@pytest.mark.parametrize(
    ("desired", "observed", "ownership", "action"),
    [
        # Wanted, and nobody is there to do it.
        (WANTED, None, None, Action.MARK_LOST),
        (WANTED, None, DEAD, Action.MARK_LOST),
        (WANTED, SAYS, DEAD, Action.MARK_LOST),
        (replace(WANTED, status="error", reason="auth"), None, DEAD, Action.MARK_LOST),
        (
            replace(WANTED, status="error", reason="worker_lost"),
            None,
            DEAD,
            Action.NOTHING,
        ),
        (
            replace(WANTED, status="connecting", reason="worker_lost"),
            None,
            DEAD,
            Action.MARK_LOST,
        ),
        # Wanted, and the owner does not say so.
        (WANTED, None, ALIVE, Action.ENSURE),
        (WANTED, OLD_EPOCH, ALIVE, Action.ENSURE),
        (WANTED, replace(SAYS, epoch=4), ALIVE, Action.ENSURE),
        (WANTED, OLD_GENERATION, ALIVE, Action.ENSURE),
        (WANTED, replace(SAYS, status="disconnected"), ALIVE, Action.ENSURE),
        # Wanted, and the owner says how it is.
        (WANTED, SAYS, ALIVE, Action.NOTHING),
        (WANTED, replace(SAYS, generation=6), ALIVE, Action.NOTHING),
        (WANTED, replace(SAYS, status="error"), ALIVE, Action.RECORD),
        (replace(WANTED, status="connecting"), SAYS, ALIVE, Action.RECORD),
        (WANTED, replace(SAYS, status="error", seq=9), ALIVE, Action.NOTHING),
        # The same status for another reason is news.
        (
            replace(WANTED, status="error", reason="dns"),
            replace(SAYS, status="error", reason="auth"),
            ALIVE,
            Action.RECORD,
        ),
        # We had called the owner lost: what it said then is true again.
        (
            replace(WANTED, status="error", reason="worker_lost", report_seq=11),
            SAYS,
            ALIVE,
            Action.RECORD,
        ),
        # Not wanted, and nobody is there.
        (UNWANTED, None, None, Action.MARK_STOPPED),
        (UNWANTED, None, DEAD, Action.MARK_STOPPED),
        (UNWANTED, SAYS, DEAD, Action.MARK_STOPPED),
        (replace(UNWANTED, status="disconnected"), None, DEAD, Action.NOTHING),
        (replace(UNWANTED, status="disconnected"), None, None, Action.NOTHING),
        # Not wanted, and the owner is there.
        (UNWANTED, None, ALIVE, Action.DROP),
        (UNWANTED, OLD_EPOCH, ALIVE, Action.DROP),
        (UNWANTED, SAYS, ALIVE, Action.DROP),
        (UNWANTED, OLD_GENERATION, ALIVE, Action.DROP),
        (UNWANTED, replace(SAYS, status="error"), ALIVE, Action.DROP),
        (UNWANTED, replace(SAYS, status="disconnected"), ALIVE, Action.RECORD),
        (
            UNWANTED,
            replace(SAYS, status="disconnected", generation=4),
            ALIVE,
            Action.DROP,
        ),
        (replace(UNWANTED, status="disconnected"), None, ALIVE, Action.NOTHING),
        (replace(UNWANTED, status="disconnected"), SAYS, ALIVE, Action.DROP),
        (
            replace(UNWANTED, status="disconnected"),
            replace(SAYS, status="disconnected"),
            ALIVE,
            Action.NOTHING,
        ),
    ],
)
def test_the_plan_is(desired, observed, ownership, action):
    assert plan(desired, observed, ownership) is action


STATUSES = ("connected", "connecting", "disconnected", "disabled", "error")
REASONS = ("", "auth", "worker_lost")


def everything():
    """Yield every combination of what is wanted, said and owned."""
    said = [
        Observed(generation, epoch, seq, status, reason)
        for generation, epoch, seq, status, reason in product(
            (4, 5, 6), (2, 3, 4), (9, 10, 11), STATUSES, REASONS
        )
    ]
    for is_enabled, status, reason in product((True, False), STATUSES, REASONS):
        desired = replace(WANTED, is_enabled=is_enabled, status=status, reason=reason)
        for observed, ownership in product([None, *said], [None, DEAD, ALIVE]):
            yield desired, observed, ownership


def after(
    desired: Desired, observed: Observed | None, ownership: Ownership | None
) -> tuple[Desired, Observed | None]:
    """Return the world after one step of the plan, with a worker that obeys."""
    action = plan(desired, observed, ownership)
    epoch = ownership.epoch if ownership else 0
    seq = max(desired.report_seq, observed.seq if observed else 0) + 1
    if action is Action.ENSURE:
        observed = Observed(desired.generation, epoch, seq, "connected", "")
    elif action is Action.DROP:
        observed = Observed(desired.generation, epoch, seq, "disconnected", "")
    elif action is Action.RECORD:
        assert observed is not None
        desired = replace(
            desired,
            status=observed.status,
            reason=observed.reason,
            report_epoch=observed.epoch,
            report_seq=observed.seq,
        )
    elif action is Action.MARK_LOST:
        desired = replace(desired, status="error", reason="worker_lost")
    elif action is Action.MARK_STOPPED:
        desired = replace(desired, status="disconnected", reason="")
    return desired, observed


def test_every_world_comes_to_rest_where_it_should():
    for desired, observed, ownership in everything():
        world = (desired, observed)
        for _ in range(3):
            world = after(*world, ownership)

        assert plan(*world, ownership) is Action.NOTHING, (desired, observed, ownership)
        alive = ownership is not None and ownership.is_alive
        if not alive and desired.is_enabled:
            assert (world[0].status, world[0].reason) == ("error", "worker_lost")
        if not desired.is_enabled:
            assert world[0].status == "disconnected"


def test_a_report_of_another_owner_is_as_good_as_none():
    for desired, observed, ownership in everything():
        if observed and ownership and observed.epoch != ownership.epoch:
            assert plan(desired, observed, ownership) is plan(desired, None, ownership)
