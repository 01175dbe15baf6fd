"""Whose messages wait on a disk: silence proves nothing about their devices."""

from __future__ import annotations

from apps.core import vitals
from apps.core.redis import RedisError
from apps.sites import leases


def waiting_shards() -> list[int]:
    """Return the shards whose owner has messages that are not in the database yet.

    A worker that owns nothing any more is no reason to wait: the present owner
    hears the devices.
    """
    try:
        known = vitals.load()
    except RedisError:
        return []
    nodes = {
        one.node
        for one in known
        if one.kind == vitals.WORKER and one.said.get("spool", {}).get("messages")
    }
    if not nodes:
        return []
    return [
        shard
        for shard, lease in leases.states().items()
        if lease.owner.partition("/")[0] in nodes
    ]
