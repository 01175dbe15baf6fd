"""How a connection's status looks and reads, for the API, the pages and the admin."""

from __future__ import annotations

from dataclasses import dataclass

from apps.sites.models import Reason, Status


@dataclass(frozen=True, slots=True)
class Badge:
    """`text` is translated; `tone` is green, blue, orange or red."""

    text: str
    tone: str
    is_pulsing: bool = False


# Status -> tone and whether it pulses, that is, whether a change is under way.
_LOOKS = {
    Status.CONNECTED: ("green", False),
    Status.CONNECTING: ("blue", True),
    Status.DISCONNECTED: ("orange", False),
    Status.DISABLED: ("orange", True),
    Status.ERROR: ("red", False),
}


def badge_for(status: str) -> Badge:
    """Return the badge of a status, in the language that is active now."""
    known = Status(status)
    tone, is_pulsing = _LOOKS[known]
    return Badge(text=str(known.label), tone=tone, is_pulsing=is_pulsing)


def reason_in_words(reason: str) -> str:
    """Return why a connection is not connected; empty if there is nothing to say."""
    return str(Reason(reason).label)
