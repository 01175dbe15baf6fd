"""Shows the messages of a site to whoever watches them; does nothing while nobody does.

The writers offer what they have stored, the reporter sends it. A site's pace bounds
neither: beyond a few messages each half second they are only counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from apps.core import events
from apps.core.redis import RedisError
from apps.sites import tail
from apps.telemetry.facts import Bad, Entry, Fact, Unclaimed

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
SHOWN_A_FLUSH = 10  # of a site; the reporter flushes twice a second
PAYLOAD_BYTES = 512
TOPIC_CHARS = 500

UNDERSTOOD, QUARANTINED, UNCLAIMED = "understood", "quarantined", "unclaimed"


@dataclass(slots=True)
class _Sample:
    """What is shown of a site with the next flush, and how many more there were."""

    shown: list[Entry] = field(default_factory=list)
    skipped: int = 0


class Tail:
    """The watched sites of this process, and what came in for them since the flush."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = -LOOK_EVERY_S
        self._watched: frozenset[int] = frozenset()
        self._samples: dict[int, _Sample] = {}
        self._lock = threading.Lock()

    # -- writers ---------------------------------------------------------------

    def offer(self, entries: Sequence[Entry]) -> None:
        """Take what a batch stored; a look at an empty set while nobody watches."""
        watched = self._watched
        if not watched:
            return
        with self._lock:
            for entry in entries:
                site_id = entry.message.site_id
                if site_id in watched:
                    sample = self._samples.setdefault(site_id, _Sample())
                    if len(sample.shown) < SHOWN_A_FLUSH:
                        sample.shown.append(entry)
                    else:
                        sample.skipped += 1

    # -- the reporter ----------------------------------------------------------

    def flush(self, site_ids: Collection[int]) -> None:
        """Send what was offered, and see once a second who is watched.

        Args:
            site_ids: the sites whose connections this process has.
        """
        with self._lock:
            samples, self._samples = self._samples, {}
        for site_id, sample in samples.items():
            events.emit(
                [events.messages_channel(site_id)],
                "messages",
                {
                    "messages": [shown(entry) for entry in sample.shown],
                    "skipped": sample.skipped,
                },
            )
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._look(site_ids)

    def _look(self, site_ids: Collection[int]) -> None:
        try:
            self._watched = tail.watched(site_ids)
        except RedisError as error:
            # Nobody hears anything without Redis.
            if self._watched:
                log.warning("messages not shown: %s", type(error).__name__)
            self._watched = frozenset()


def shown(entry: Entry) -> dict[str, object]:
    """Return what people see of a message; whatever its bytes, it is JSON."""
    message, fact = entry
    moment = datetime.fromtimestamp(message.received_us / 1e6, UTC)
    return {
        "at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "topic": message.topic.decode("utf-8", "backslashreplace")[:TOPIC_CHARS],
        "payload": head_text(message.payload),
        "size": len(message.payload),
        "qos": message.qos,
        "retain": message.retain,
        "became": became(fact),
        "reason": fact.reason if isinstance(fact, Bad) else "",
    }


def head_text(payload: bytes) -> str:
    """Return the first bytes as text; a letter that the cut divides is left out."""
    head = payload[:PAYLOAD_BYTES]
    if len(payload) > PAYLOAD_BYTES:
        for bytes_of_it in (1, 2, 3):
            if head[-bytes_of_it] >= 0xC0:  # noqa: PLR2004 (UTF-8: a letter begins)
                return head[:-bytes_of_it].decode("utf-8", "backslashreplace")
    return head.decode("utf-8", "backslashreplace")


def became(fact: Fact) -> str:
    if isinstance(fact, Bad):
        return QUARANTINED
    return UNCLAIMED if isinstance(fact, Unclaimed) else UNDERSTOOD
