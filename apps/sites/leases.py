"""Take, renew and release a shard: one row each, settled by conditional UPDATEs.

Every time in here is the database's clock, so a worker whose own clock jumps neither
loses nor steals anything. Taking a shard adds one to its epoch; a batch holds a share
lock on the row while it writes (`fence`), so a takeover waits for it and every later
batch of the old owner is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from apps.core.prepared import Prepared
from apps.sites.plan import Ownership

LEASE_TTL_S = 15  # three missed renewals of 5 s: a paused worker keeps nothing for long
RENEW_EVERY_S = 5

_TAKE = """
INSERT INTO sites_shardlease AS lease (shard, owner, epoch, expires_at, acquired_at)
VALUES (%s, %s, 1, clock_timestamp() + make_interval(secs => %s), clock_timestamp())
ON CONFLICT (shard) DO UPDATE
   SET owner = excluded.owner, epoch = lease.epoch + 1,
       expires_at = excluded.expires_at, acquired_at = excluded.acquired_at
 WHERE lease.expires_at < clock_timestamp() OR lease.owner IN ('', %s)
RETURNING epoch
"""
_RENEW = """
UPDATE sites_shardlease
   SET expires_at = clock_timestamp() + make_interval(secs => %s)
 WHERE shard = %s AND owner = %s AND epoch = %s
"""
_RELEASE = """
UPDATE sites_shardlease SET owner = '', expires_at = clock_timestamp()
 WHERE shard = %s AND owner = %s AND epoch = %s
"""
_FENCE = Prepared(
    "fence",
    "SELECT shard, epoch FROM sites_shardlease WHERE shard = ANY(%s::int[]) FOR SHARE",
)
_ALL = (
    "SELECT shard, owner, epoch, expires_at > clock_timestamp() FROM sites_shardlease"
)


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A shard's lease as the database sees it at this moment."""

    shard: int
    owner: str
    epoch: int
    is_alive: bool

    @property
    def ownership(self) -> Ownership:
        return Ownership(epoch=self.epoch, is_alive=self.is_alive)


def take(
    shard: int, owner: str, *, instead_of: str = "", ttl_s: float | None = None
) -> int | None:
    """Return the new epoch if the shard was free or expired, else None.

    `instead_of` names an owner who is known to be dead and need not be waited for.
    """
    lives_s = LEASE_TTL_S if ttl_s is None else ttl_s
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [shard, owner, lives_s, instead_of])
        row = cursor.fetchone()
    return int(row[0]) if row else None


def renew(shard: int, owner: str, epoch: int, *, ttl_s: float | None = None) -> bool:
    """Return False if somebody else has taken the shard since."""
    lives_s = LEASE_TTL_S if ttl_s is None else ttl_s
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [lives_s, shard, owner, epoch])
        return bool(cursor.rowcount == 1)


def release(shard: int, owner: str, epoch: int) -> bool:
    """Free the shard at once for the next worker."""
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, [shard, owner, epoch])
        return bool(cursor.rowcount == 1)


def fence(shards: Sequence[int]) -> dict[int, int]:
    """Return the shards' epochs and hold them until the transaction ends."""
    with connection.cursor() as cursor:
        _FENCE.execute(cursor, [list(shards)])
        return dict(cursor.fetchall())


def states() -> dict[int, LeaseState]:
    """Return every shard's lease."""
    with connection.cursor() as cursor:
        cursor.execute(_ALL)
        return {row[0]: LeaseState(*row) for row in cursor.fetchall()}
