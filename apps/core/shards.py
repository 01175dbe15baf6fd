"""Which shard a site belongs to: a pure function, so that no one has to ask."""

from __future__ import annotations

QUEUE_PREFIX = "mqtt.shard."


def shard_of(site_id: int, shards: int) -> int:
    """Return the shard, from 0. Ids are consecutive, so modulo spreads them."""
    return site_id % shards


def queue_name(shard: int) -> str:
    return f"{QUEUE_PREFIX}{shard}"


def shard_of_queue(name: str) -> int | None:
    """Return the shard of `mqtt.shard.N`, or None for any other queue."""
    number = name.removeprefix(QUEUE_PREFIX)
    return int(number) if number != name and number.isdecimal() else None
