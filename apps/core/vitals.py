"""How each process does: a small record in Redis, said anew every few seconds.

A process says it about itself (`say`), monitoring reads them all (`load`). One that
was not silent on purpose stays listed for an hour after its record has run out, so
that its end shows.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.core.redis import client, vitals_index_key, vitals_key

log = logging.getLogger(__name__)

SAY_EVERY_S = 5.0
TTL_S = 20  # four records missed
REMEMBERED_S = 3_600
MOST = 500  # processes; far more than anybody runs

WORKER, WEB = "worker", "web"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a process last said; `said` is empty when its record has run out."""

    kind: str
    node: str
    said: dict[str, Any]

    @property
    def is_alive(self) -> bool:
        return bool(self.said)


def say(kind: str, node: str, record: Mapping[str, Any]) -> None:
    """Store this process's record; raises `RedisError` when Redis is away."""
    now = time.time()
    pipeline = client().pipeline(transaction=False)
    pipeline.set(vitals_key(node), json.dumps(dict(record)), ex=TTL_S)
    pipeline.zadd(vitals_index_key(), {f"{kind} {node}": now})
    pipeline.zremrangebyscore(vitals_index_key(), "-inf", now - REMEMBERED_S)
    pipeline.execute()


def forget(kind: str, node: str) -> None:
    """Take this process off the list: it ends because it was told to."""
    pipeline = client().pipeline(transaction=False)
    pipeline.delete(vitals_key(node))
    pipeline.zrem(vitals_index_key(), f"{kind} {node}")
    pipeline.execute()


def load() -> list[Vitals]:
    """Return all processes of the last hour; raises `RedisError`."""
    members: Any = client().zrevrange(vitals_index_key(), 0, MOST - 1)
    listed = sorted(tuple(str(member).partition(" ")[::2]) for member in members)
    if not listed:
        return []
    texts: Any = client().mget([vitals_key(node) for _, node in listed])
    return [
        Vitals(kind, node, _read(node, text))
        for (kind, node), text in zip(listed, texts, strict=True)
    ]


def _read(node: str, text: object) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        said = json.loads(str(text))
    except ValueError:
        said = None
    if not isinstance(said, dict):
        log.warning("vitals unreadable node=%s", node)
        return {}
    return said
