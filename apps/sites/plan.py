"""The decision of the reconcile: compare what is wanted with what is, say what to do.

Pure: no clock, no database, no network. Every command that follows from it may be lost
or doubled; the next tick decides again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What the reconcile does about one connection."""

    NOTHING = "nothing"
    ENSURE = "ensure"  # tell the owner to connect, or to obey newer settings
    DROP = "drop"  # tell the owner to disconnect
    RECORD = "record"  # the report in Redis is newer than the row
    MARK_LOST = "mark_lost"  # wanted, but nobody owns the shard
    MARK_STOPPED = "mark_stopped"  # not wanted, and nobody could be connected


@dataclass(frozen=True, slots=True)
class Desired:
    """A row of MqttConnection, as far as the decision needs it."""

    is_enabled: bool
    generation: int
    status: str
    reason: str
    report_epoch: int
    report_seq: int


@dataclass(frozen=True, slots=True)
class Observed:
    """The last report about the connection, as far as the decision needs it."""

    generation: int
    epoch: int
    seq: int
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ownership:
    """The lease on the connection's shard; `is_alive` by the database's clock."""

    epoch: int
    is_alive: bool


def plan(
    desired: Desired, observed: Observed | None, ownership: Ownership | None
) -> Action:
    """Return the one step that brings the connection closer to what is wanted.

    A report counts only if the present owner (its epoch) made it for the present
    settings (their generation); anything else is as good as no report.
    """
    alive = ownership is not None and ownership.is_alive
    if observed and ownership and observed.epoch != ownership.epoch:
        observed = None
    obeys = observed is not None and observed.generation >= desired.generation
    if desired.is_enabled:
        return _plan_wanted(desired, observed if obeys else None, alive=alive)
    return _plan_unwanted(desired, observed, alive=alive)


def _plan_wanted(desired: Desired, observed: Observed | None, *, alive: bool) -> Action:
    if not alive:
        lost = desired.status == "error" and desired.reason == "worker_lost"
        return Action.NOTHING if lost else Action.MARK_LOST
    if observed is None or observed.status == "disconnected":
        return Action.ENSURE
    return Action.RECORD if _is_news(desired, observed) else Action.NOTHING


def _plan_unwanted(
    desired: Desired, observed: Observed | None, *, alive: bool
) -> Action:
    at_rest = desired.status == "disconnected"
    if not alive:
        return Action.NOTHING if at_rest else Action.MARK_STOPPED
    if observed is None:
        return Action.NOTHING if at_rest else Action.DROP
    if observed.status != "disconnected":
        return Action.DROP
    if at_rest:
        return Action.NOTHING
    # The owner has let go. A report from before the stop cannot settle the badge:
    # asking again makes the owner report anew, quoting the present generation.
    if observed.generation < desired.generation:
        return Action.DROP
    return Action.RECORD


def _is_news(desired: Desired, observed: Observed) -> bool:
    """Return whether the row shall say what the owner says.

    Also of the report that it has recorded: since then the reconcile may have called
    the owner lost, for a while in which it did not renew its lease.
    """
    recorded = (desired.report_epoch, desired.report_seq)
    said = (observed.status, observed.reason)
    return (observed.epoch, observed.seq) >= recorded and (
        said != (desired.status, desired.reason)
    )
