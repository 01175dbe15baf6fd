"""Whose messages somebody watches at this moment: a key in Redis for each such site.

A page that shows the messages renews the key; without one no worker shows any.
"""

from __future__ import annotations

from collections.abc import Collection

from apps.core.redis import client, tail_key

WATCHED_FOR_S = 15  # a page asks again every 5 s


def watch(site_id: int) -> None:
    """Have the site's messages shown for some seconds; raises `RedisError`."""
    client().set(tail_key(site_id), "1", ex=WATCHED_FOR_S)


def watched(site_ids: Collection[int]) -> frozenset[int]:
    """Return those of these sites that somebody watches; raises `RedisError`."""
    ids = sorted(site_ids)
    if not ids:
        return frozenset()
    found = client().mget([tail_key(site_id) for site_id in ids])
    return frozenset(
        site_id for site_id, flag in zip(ids, found, strict=True) if flag is not None
    )
