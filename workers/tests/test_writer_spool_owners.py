"""Whose a spool is: other owners, ends of processes, workers that never come back."""

from __future__ import annotations

import threading

from workers.tests.hall import UTC
from workers.writer import Context


def test_what_came_in_a_session_that_is_over_is_left_to_whoever_gets_it_again(hall):
    """Frozen, we lost the shard; its next owner has had it redelivered."""
    hall.base.is_up = False
    hall.over = {1}
    hall.put(5)
    unconfirmed = hall.put(1, qos=0)  # nobody sends this again
    here = hall.put(2, session=2)

    hall.run_to_the_end()

    assert hall.on_disk == [message.mid for message in (*unconfirmed, *here)]
    assert hall.acknowledged == [*unconfirmed, *here]
    assert hall.inbox.depth == 0


def test_what_came_before_its_shard_was_lost_is_stored_nowhere(hall):
    """Also if it is ours again: the owner in between has had it."""
    hall.void = {1}
    hall.put(5)
    ours = hall.put(2, session=2)

    hall.run_to_the_end()

    assert hall.base.stored == ours
    assert hall.acknowledged == ours
    assert hall.inbox.depth == 0


def test_a_shard_that_was_taken_anew_while_a_batch_was_tried_is_another_one(hall):
    hall.base.is_up = False
    hall.put(3)
    thread = hall.running()
    hall.until(lambda: hall.on_disk == [1, 2, 3])

    hall.standing.is_in_doubt = True
    hall.put(1)
    hall.until(lambda: hall.standing.looks > 0)
    hall.epochs[0] = 6
    hall.standing.is_in_doubt = False
    hall.until(lambda: hall.inbox.depth == 0)
    hall.end(thread)

    assert hall.on_disk == [1, 2, 3]
    assert len(hall.acknowledged) == 3


def test_a_clean_session_sends_nothing_again_so_all_of_it_is_kept(hall):
    hall.context = Context("s", UTC, is_redelivered=False)
    hall.begin()
    hall.base.is_up = False
    hall.over = {1}
    hall.put(5)

    hall.run_to_the_end()

    assert hall.on_disk == [1, 2, 3, 4, 5]


def test_after_a_freeze_nothing_is_kept_before_the_leases_were_looked_at(hall):
    hall.base.is_up = False
    hall.standing.is_in_doubt = True
    hall.put(5)
    thread = hall.running()
    hall.until(lambda: hall.standing.looks > 0)
    assert hall.acknowledged == []

    hall.epochs.clear()  # the look shows: somebody else owns the shard
    hall.standing.is_in_doubt = False
    hall.until(lambda: hall.inbox.depth == 0)
    hall.end(thread)

    assert hall.acknowledged == []
    assert hall.on_disk == []


def test_shortly_after_a_freeze_nothing_is_kept_that_another_owner_may_have(hall):
    """A look that the database did not answer says nothing about the owner."""
    hall.base.is_up = False
    hall.standing.is_settling = True
    hall.put(5)
    thread = hall.running()
    hall.until(lambda: hall.standing.looks > 0)
    assert hall.on_disk == []

    hall.over = {1}  # the end of the session has been read
    hall.standing.is_settling = False
    hall.until(lambda: hall.inbox.depth == 0)
    hall.end(thread)

    assert hall.on_disk == []


# -- the end of a process ------------------------------------------------------------


def test_told_to_end_while_the_database_is_away_it_keeps_all_at_once(hall, monkeypatch):
    monkeypatch.setattr("workers.reach.PATIENCE_S", 60)
    hall.base.is_up = False
    sent = hall.put(50)

    hall.run_to_the_end()

    assert hall.acknowledged == sent
    assert hall.on_disk == list(range(1, 51))
    assert [p.name for p in hall.folder.glob("house/*/*-wal")] == []  # a clean file


def test_the_spool_of_a_worker_that_never_came_back_is_drained_and_removed(hall):
    hall.base.is_up = True
    hall.run_to_the_end()  # known to the database
    hall.base.is_up = False
    hall.begin("mqtt7@gone")
    hall.base.is_up = True
    thread = hall.running()
    hall.until(lambda: hall.spool.is_met)
    hall.base.is_up = False
    hall.put(30)
    hall.until(lambda: len(hall.acknowledged) == 30)
    hall.end(thread)

    hall.base.is_up = True
    hall.begin()
    thread = hall.running()
    hall.until(lambda: len(hall.stored) == 30)
    hall.until(lambda: not list(hall.folder.glob("house/mqtt7@gone/*")))
    hall.end(thread)

    assert hall.stored == list(range(1, 31))
    assert len(hall.base.live) == 1


def test_the_spool_of_another_database_is_left_alone(hall):
    hall.base.is_up = False
    hall.begin("mqtt7@gone")
    hall.put(3)
    hall.run_to_the_end()
    hall.base.is_up = True
    hall.base.live.clear()  # this database never saw it
    hall.begin()
    thread = hall.running()
    hall.put(1)
    hall.until(lambda: hall.stored == [4])
    threading.Event().wait(0.3)
    hall.end(thread)

    assert hall.stored == [4]
    assert hall.on_disk == [1, 2, 3]
