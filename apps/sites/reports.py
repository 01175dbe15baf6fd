"""What a worker last said about a connection: a JSON value in Redis with a TTL.

The worker writes it (`store`), the reconcile and the API read it (`load`). A report
that cannot be read counts as none.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apps.core.redis import RedisError, client, report_key

log = logging.getLogger(__name__)

REPORT_TTL_S = 20  # renewed every 5 s; four missed renewals mean that nobody reports
STORE_AT_ONCE = 200  # Redis answers nobody else meanwhile

# An owner that was frozen, or cut off from PostgreSQL alone, may go on talking while a
# newer one reports: what says a lower epoch than what lies there is refused. Compared
# by Redis itself, since between a look and a write the newer one may speak.
_STORE = """
local refused = {}
for place, key in ipairs(KEYS) do
  local known = redis.call('GET', key)
  local is_read, report = pcall(cjson.decode, known or '')
  local is_newer = is_read and type(report) == 'table'
    and type(report.epoch) == 'number'
    and report.epoch > tonumber(ARGV[2 * place])
  if is_newer then
    refused[#refused + 1] = place
  else
    redis.call('SET', key, ARGV[2 * place + 1], 'EX', ARGV[1])
  end
end
return refused
"""


_MOMENTS = ("at", "next_retry_at", "connected_at", "last_message_at", "lost_at")


@dataclass(frozen=True, slots=True)
class Report:
    """Observed state of one connection.

    `generation` is the one the worker obeys, (`epoch`, `seq`) order all reports of a
    connection, times are aware UTC. `lowered_topics` are the filters that the broker
    has granted a lower QoS than we asked for. `lost_at`: when the last link of this
    session ended; None if this worker knows of none. `is_clean`: nothing is kept for us
    while we are away. `per_minute` counts the messages of the last whole minutes, the
    newest last, for as long as this worker has known the connection.
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
    lost_at: datetime | None = None
    is_clean: bool = False
    errors: int = 0
    topics: tuple[str, ...] = ()
    lowered_topics: tuple[str, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    per_minute: tuple[int, ...] = ()

    def to_json(self) -> str:
        # Not `asdict`: it copies everything, a tenth of the work of 2,000 connects.
        fields = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps(fields, default=datetime.isoformat)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report; raises ValueError, TypeError or KeyError if it is none."""
        fields = dict(json.loads(text))
        for name in _MOMENTS:
            if fields.get(name) is not None:
                fields[name] = datetime.fromisoformat(fields[name])
        for name in ("topics", "lowered_topics", "per_minute"):
            fields[name] = tuple(fields.get(name, ()))
        # A worker may be newer than who reads: during an upgrade.
        return cls(**{name: fields[name] for name in fields if name in _FIELDS})


_FIELDS = tuple(field.name for field in dataclasses.fields(Report))


def store(reports: Iterable[Report], *, ttl_s: int = REPORT_TTL_S) -> set[int]:
    """Write reports; return the connections of which a newer owner has spoken.

    Raises:
        RedisError: Redis is away; some may be written.
    """
    given = list(reports)
    refused: set[int] = set()
    for start in range(0, len(given), STORE_AT_ONCE):
        some = given[start : start + STORE_AT_ONCE]
        refused |= _store(some, ttl_s)
    return refused


def _store(reports: Sequence[Report], ttl_s: int) -> set[int]:
    keys = [report_key(report.connection_id) for report in reports]
    values = [part for each in reports for part in (each.epoch, each.to_json())]
    places: Any = client().eval(_STORE, len(keys), *keys, ttl_s, *values)
    return {reports[place - 1].connection_id for place in places}


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
