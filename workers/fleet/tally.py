"""Counts what the fleet did; the only place that turns counts into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.fleet.devices import Message


@dataclass(slots=True)
class Tally:
    """Messages handed to the socket, and those that the broker acknowledged (PUBACK).

    A message that had to be sent twice (DUP after a reconnect) is counted once. Times
    are monotonic seconds: the first publish, the last acknowledgement.
    """

    published: Counter[str] = field(default_factory=Counter)
    acked: Counter[str] = field(default_factory=Counter)
    awaited: int = 0  # published at QoS 1
    values: int = 0
    acked_values: int = 0
    refused: int = 0  # PUBACKs with a failure code (MQTT 5)
    connections_lost: int = 0  # not counting a simulated crash
    connects_failed: int = 0
    crashes: int = 0
    first_at: float | None = None
    last_at: float = 0.0

    def count_published(self, message: Message, now: float) -> None:
        self.published[message.kind] += 1
        self.values += message.values
        if self.first_at is None:
            self.first_at = now
        if message.qos:
            self.awaited += 1
        else:
            self.last_at = now

    def count_acked(self, message: Message, now: float, *, is_failure: bool) -> None:
        self.last_at = now
        if is_failure:
            self.refused += 1
            return
        self.acked[message.kind] += 1
        self.acked_values += message.values

    @property
    def errors(self) -> int:
        return self.refused + self.connections_lost + self.connects_failed

    def summary(self) -> dict[str, object]:
        seconds = max(0.0, self.last_at - (self.first_at or self.last_at))
        published = self.published.total()
        return {
            "published": published,
            "acked": self.acked.total(),
            "published_by_kind": dict(sorted(self.published.items())),
            "acked_by_kind": dict(sorted(self.acked.items())),
            "values": self.values,
            "acked_values": self.acked_values,
            "refused": self.refused,
            "connections_lost": self.connections_lost,
            "connects_failed": self.connects_failed,
            "crashes": self.crashes,
            "seconds": round(seconds, 3),
            "rate": round(published / seconds, 1) if seconds else 0.0,
        }


class Progress:
    """Tells a line about the fleet now and then.

    Args:
        every_s: seconds between two lines.
        say: takes one line.
    """

    def __init__(self, every_s: float, say: Callable[[str], None]) -> None:
        self._every_s, self._say = every_s, say
        self._told_at: float | None = None
        self._told_sent = 0

    def is_due(self, now: float) -> bool:
        if self._told_at is None:
            self._told_at = now
        return now - self._told_at >= self._every_s

    def tell(self, tally: Tally, now: float, connected: int, links: int) -> None:
        sent = tally.published.total()
        passed_s = now - (self._told_at or now)
        rate = (sent - self._told_sent) / passed_s if passed_s else 0.0
        self._told_at, self._told_sent = now, sent
        self._say(
            f"{sent:,} sent, {rate:,.1f}/s, {tally.acked.total():,} acknowledged, "
            f"{connected} of {links} connected, {tally.errors} errors"
        )
