"""The Redis clients and the names of the keys; the only place that imports redis."""

from __future__ import annotations

from functools import cache

import redis
import redis.asyncio
import redis.asyncio.client
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

RedisError = redis.RedisError
Subscription = redis.asyncio.client.PubSub

# One second to connect, two for an answer, no retries (redis-py 8 would retry ten
# times, about 4 s, measured in November 2026).
_CONNECT_TIMEOUT_S = 1
_ANSWER_TIMEOUT_S = 2


@cache
def client() -> redis.Redis:
    """Return the process-wide client, made for callers that can do without Redis.

    Every call may raise `RedisError`, after three seconds at most.
    """
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=15,
    )


def listening_client() -> redis.asyncio.Redis:
    """Return a new asyncio client for one subscription; the caller closes it.

    It never reconnects by itself: events are lost meanwhile, and the subscriber has to
    know. Protocol 2, where the answer to a PING is an ordinary pub/sub message.
    """
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_ANSWER_TIMEOUT_S,
        socket_keepalive=True,
        retry=AsyncRetry(NoBackoff(), 0),
        health_check_interval=0,
    )


def events_channel() -> str:
    """Return the pub/sub channel of this installation's events.

    Pub/sub knows no database numbers: without the number in its name, installations
    that share a Redis server would see each other's events.
    """
    database = client().connection_pool.connection_kwargs.get("db") or 0
    return f"guardiano:events:{database}"


def report_key(connection_id: int) -> str:
    """Return where a worker's report on one connection lies (JSON, with a TTL)."""
    return f"guardiano:report:{connection_id}"


def worker_key(node: str) -> str:
    """Return where a worker says that it lives (JSON, with a TTL)."""
    return f"guardiano:worker:{node}"


def vitals_key(node: str) -> str:
    """Return where a process says how it does (JSON, with a TTL)."""
    return f"guardiano:vitals:{node}"


def vitals_index_key() -> str:
    """Return the sorted set of the processes that said so lately, by time."""
    return "guardiano:vitals"


def reconciled_key() -> str:
    """Return where the reconcile notes when it last ran (seconds since 1970)."""
    return "guardiano:reconciled"


def trial_key(trial_id: int) -> str:
    """Return where the settings that a test is to try lie (encrypted, with a TTL)."""
    return f"guardiano:trial:{trial_id}"


def trial_answers_key(trial_id: int) -> str:
    """Return the list of what the worker says about a test (JSON, with a TTL)."""
    return f"guardiano:trial:{trial_id}:answers"


def tail_key(site_id: int) -> str:
    """Return the key that is there while somebody watches a site's messages."""
    return f"guardiano:tail:{site_id}"
