"""What one connection says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known about a connection now; the reporter makes a report of it."""

    connection_id: int
    site_id: int
    shard: int
    generation: int
    status: str
    reason: str = ""
    detail: str = ""
    client_id: str = ""
    retry_count: int = 0
    next_retry_at: datetime | None = None
    connected_at: datetime | None = None
    session_present: bool | None = None
    lost_at: datetime | None = None  # the last link of this session ended
    is_clean: bool = False  # the session is not kept while we are away
    errors: int = 0
    topics: tuple[str, ...] = ()
    lowered_topics: tuple[str, ...] = ()  # filters granted a lower QoS than was asked
