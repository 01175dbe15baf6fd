"""What the publishers send, and what each message must have become in the database."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

DEVICES = 3
EQUAL_VALUE = 7.0  # of all `equal` messages: content proves nothing about them

# Out of a hundred messages. `poison` is no JSON and belongs into the quarantine.
WEIGHTS = {"timed": 44, "bare": 30, "pair": 10, "text": 8, "equal": 6, "poison": 2}


@dataclass(slots=True)
class Sent:
    """One QoS 1 message, sent once and never again."""

    site: int
    n: int  # unique in its site
    kind: str
    device: str
    measured_us: int | None
    at: float  # wall clock
    acked_at: float | None = None  # None: the broker may have it or not

    @property
    def parts(self) -> dict[str, float | str]:
        """The readings it must become, by sensor key."""
        by_kind: dict[str, dict[str, float | str]] = {
            "timed": {"t": float(self.n)},
            "bare": {"u": float(self.n)},
            "pair": {"p": float(self.n), "q": self.n + 0.5},
            "text": {"s": f"word-{self.n}"},
            "equal": {"e": EQUAL_VALUE},
            "poison": {},
        }
        return by_kind[self.kind]

    @property
    def payload(self) -> bytes:
        if self.kind == "poison":
            return poison(self.n)
        body: dict[str, object] = {"values": self.parts}
        if self.measured_us is not None:
            body["ts"] = self.measured_us // 1_000
        return json.dumps(body).encode()


def poison(n: int) -> bytes:
    return b"{no json %d" % n


def number_of(key: str, value: float | None, text: str | None) -> int | None:
    """Return which message a stored reading comes from; None if no message says so."""
    if key == "s":
        word, _, number = (text or "").partition("-")
        return int(number) if word == "word" and number.isdecimal() else None
    if value is None or key not in ("t", "u", "p", "q"):
        return None
    whole = value - 0.5 if key == "q" else value
    return int(whole) if whole == int(whole) and whole >= 0 else None


class Script:
    """A site's messages, the same for the same seed but for their times."""

    def __init__(self, seed: int, site: int) -> None:
        self._site = site
        self._random = random.Random(f"{seed}/{site}")
        self._n = 0
        self._last_ms = 0

    def next(self, now: float) -> Sent:
        kind = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        measured_us = None
        if kind == "timed":
            self._last_ms = max(int(now * 1_000), self._last_ms + 1)
            measured_us = self._last_ms * 1_000
        device = str(self._random.randrange(DEVICES))
        self._n += 1
        return Sent(self._site, self._n, kind, device, measured_us, now)
