"""Who owns a shard: one at a time, by the database's clock; the epoch grows."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from apps.sites import leases
from apps.sites.models import ShardLease

pytestmark = pytest.mark.django_db


def test_a_free_shard_is_taken_with_the_first_epoch():
    assert leases.take(3, "a") == 1

    assert leases.states() == {3: leases.LeaseState(3, "a", 1, is_alive=True)}


def test_an_owned_shard_is_not_taken_not_even_by_its_own_owner():
    leases.take(3, "a")

    assert leases.take(3, "b") is None
    assert leases.take(3, "a") is None


def test_an_expired_lease_is_taken_with_the_next_epoch():
    leases.take(3, "a", ttl_s=0)

    assert not leases.states()[3].is_alive
    assert leases.take(3, "b") == 2


def test_a_released_lease_is_free_at_once():
    leases.take(3, "a")

    assert leases.release(3, "a", 1)

    assert leases.states()[3] == leases.LeaseState(3, "", 1, is_alive=False)
    assert leases.take(3, "b") == 2


def test_a_dead_owner_need_not_be_waited_for():
    leases.take(3, "dead")

    assert leases.take(3, "b", instead_of="somebody else") is None
    assert leases.take(3, "b", instead_of="dead") == 2


def test_a_lease_is_renewed_by_its_owner_only():
    leases.take(3, "a")

    assert leases.renew(3, "a", 1)
    assert not leases.renew(3, "b", 1)
    assert not leases.renew(3, "a", 2)
    assert not leases.renew(4, "a", 1)


def test_an_expired_lease_that_nobody_took_is_renewed():
    leases.take(3, "a", ttl_s=0)

    assert leases.renew(3, "a", 1)
    assert leases.states()[3].is_alive


def test_a_taken_over_owner_can_neither_renew_nor_release():
    leases.take(3, "a", ttl_s=0)
    leases.take(3, "b")

    assert not leases.renew(3, "a", 1)
    assert not leases.release(3, "a", 1)
    assert leases.states()[3].owner == "b"


def test_a_release_does_not_free_a_later_lease_of_the_same_name():
    leases.take(3, "a", ttl_s=0)
    leases.take(3, "a")

    assert not leases.release(3, "a", 1)
    assert leases.states()[3].is_alive


def test_the_fence_tells_the_epochs_of_the_shards_asked_for():
    leases.take(3, "a")
    leases.take(4, "a")

    with transaction.atomic():
        assert leases.fence([3, 5]) == {3: 1}
        assert leases.fence([]) == {}


def test_expiry_is_by_the_databases_clock(time_machine):
    leases.take(3, "a", ttl_s=15)

    time_machine.move_to("2040-01-01")

    assert timezone.now().year == 2040
    assert leases.states()[3].is_alive
    assert leases.take(3, "b") is None


# -- at the same time ----------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_many_takers_exactly_one_wins():
    won: list[int | None] = []
    barrier = threading.Barrier(8)

    def take(name: str) -> None:
        barrier.wait(10)
        won.append(leases.take(3, name))
        connection.close()

    threads = [threading.Thread(target=take, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert sorted(won, key=str) == [1, *[None] * 7]


@pytest.mark.django_db(transaction=True)
def test_a_takeover_waits_for_the_batch_that_is_being_written():
    leases.take(3, "a", ttl_s=0)
    fenced, may_commit = threading.Event(), threading.Event()
    took: list[float] = []

    def batch() -> None:
        with transaction.atomic():
            leases.fence([3])
            fenced.set()
            may_commit.wait(10)
        connection.close()

    def takeover() -> None:
        leases.take(3, "b")
        took.append(time.monotonic())
        connection.close()

    threads = [threading.Thread(target=batch), threading.Thread(target=takeover)]
    threads[0].start()
    assert fenced.wait(10)
    threads[1].start()
    time.sleep(0.3)
    assert took == []
    committed = time.monotonic()
    may_commit.set()
    for thread in threads:
        thread.join(timeout=10)

    assert took[0] >= committed
    assert leases.states()[3].epoch == 2


@pytest.mark.django_db(transaction=True)
def test_a_takeover_does_not_wait_for_ever():
    leases.take(3, "a", ttl_s=0)
    fenced, may_commit = threading.Event(), threading.Event()

    def batch() -> None:
        with transaction.atomic():
            leases.fence([3])
            fenced.set()
            may_commit.wait(10)
        connection.close()

    thread = threading.Thread(target=batch)
    thread.start()
    assert fenced.wait(10)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = 200")
            with pytest.raises(OperationalError):
                leases.take(3, "b")
            transaction.set_rollback(True)
    finally:
        may_commit.set()
        thread.join(timeout=10)

    assert ShardLease.objects.get(shard=3).owner == "a"
