"""When to try again. Pure: the caller brings the clock and the jitter."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_DELAY_S = 5.0
MAX_DELAY_S = 300.0
JITTER = 0.25  # hundreds of sites of one dead broker must not return in one second
AUTH_DELAY_S = 300.0  # asking again with the same bad password helps nobody
STABLE_AFTER_S = 60.0  # a link this old starts the count anew

FIGHT_DROPS = 3
FIGHT_WITHIN_S = 15.0
COOLDOWNS_S = (60.0, 120.0, 300.0)


def delay_s(retry_count: int, *, spread: float) -> float:
    """Return `min(5 × 2^retry_count, 300)` seconds, ±25 %.

    Args:
        retry_count: failures before this one, from 0.
        spread: -1 to 1, random.
    """
    base = min(FIRST_DELAY_S * 2.0 ** min(retry_count, 16), MAX_DELAY_S)
    return base * (1 + JITTER * spread)


@dataclass(slots=True)
class FightDetector:
    """Tells a fight over our client id from a broker that merely went away.

    On the wire both are a lost TCP connection (measured with mosquitto 2.0.11, 3.1.1
    and 5, November 2026). A fight is three drops in a row, each soon after its CONNACK,
    by a broker that still accepts connections; MQTT 5 may say so itself (0x8E).
    """

    drops: int = 0
    level: int = field(default=0)  # cooldowns served in a row

    def dropped(
        self, *, age_s: float, was_taken_over: bool, broker_is_up: bool
    ) -> bool:
        """Note a drop of an established link; return whether it is a fight.

        Args:
            age_s: time since its CONNACK.
            was_taken_over: the broker said 0x8E, session taken over.
            broker_is_up: it accepted a TCP connection right after the drop.
        """
        if not was_taken_over and (age_s >= FIGHT_WITHIN_S or not broker_is_up):
            self.drops = 0
            return False
        self.drops += 1
        # After a cooldown one more quick drop is proof enough.
        return self.drops >= FIGHT_DROPS or self.level > 0

    def next_cooldown_s(self) -> float:
        """Return how long to stay away from a fight just found."""
        cooldown = COOLDOWNS_S[min(self.level, len(COOLDOWNS_S) - 1)]
        self.level += 1
        self.drops = 0
        return cooldown

    def calm(self) -> None:
        """Forget everything: the link is stable, or a person stepped in."""
        self.drops = self.level = 0
