"""What a worker last said about a connection: a JSON value in Redis with a TTL.

The worker writes it (`store`), the reconcile and the API read it (`load`). A report
that cannot be read counts as none.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from apps.core.redis import RedisError, client, report_key

log = logging.getLogger(__name__)

REPORT_TTL_S = 20  # renewed every 5 s; four missed renewals mean that nobody reports


@dataclass(frozen=True, slots=True)
class Report:
    """Observed state of one connection.

    `generation` is the one the worker obeys, (`epoch`, `seq`) order all reports of a
    connection, times are aware UTC. `per_minute` counts the messages of the last whole
    minutes, the newest last, for as long as this worker has known the connection.
    """

    connection_id: int
    site_id: int
    generation: int
    epoch: int
    seq: int
    status: str
    reason: str
    detail: str
    at: datetime
    owner: str
    shard: int
    client_id: str = ""
    retry_count: int = 0
    next_retry_at: datetime | None = None
    connected_at: datetime | None = None
    last_message_at: datetime | None = None
    session_present: bool | None = None
    errors: int = 0
    topics: tuple[str, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    per_minute: tuple[int, ...] = ()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=datetime.isoformat)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report; raises ValueError, TypeError or KeyError if it is none."""
        fields = json.loads(text)
        for name in ("at", "next_retry_at", "connected_at", "last_message_at"):
            if fields[name] is not None:
                fields[name] = datetime.fromisoformat(fields[name])
        for name in ("topics", "per_minute"):
            fields[name] = tuple(fields.get(name, ()))
        return cls(**fields)


def store(reports: Iterable[Report], *, ttl_s: int = REPORT_TTL_S) -> None:
    """Write reports in one round trip; raises `RedisError` when Redis is away."""
    pipeline = client().pipeline(transaction=False)
    for report in reports:
        pipeline.set(report_key(report.connection_id), report.to_json(), ex=ttl_s)
    pipeline.execute()


def load(connection_ids: Iterable[int]) -> dict[int, Report]:
    """Return the reports there are; raises `RedisError` when Redis is away."""
    ids = list(connection_ids)
    if not ids:
        return {}
    found: dict[int, Report] = {}
    texts = client().mget([report_key(connection_id) for connection_id in ids])
    for connection_id, text in zip(ids, texts, strict=True):
        if text is None:
            continue
        try:
            found[connection_id] = Report.from_json(str(text))
        except (ValueError, TypeError, KeyError):
            log.warning("report unreadable connection_id=%d", connection_id)
    return found


def load_or_none(connection_ids: Iterable[int]) -> dict[int, Report]:
    """Return the reports there are, none while Redis is away; for pages."""
    try:
        return load(connection_ids)
    except RedisError:
        log.warning("reports not read: Redis is away")
        return {}
