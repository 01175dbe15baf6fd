"""Which topics may be published for a site, and where the answer to one comes. Pure."""

from __future__ import annotations

import unicodedata

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

MAX_TOPIC_BYTES = 1_024  # MQTT takes 65,535; nobody's device has such a topic

_INPUT, _OUTPUT = "/input", "/output"


def problem_with_topic(code: str, topic: str) -> str | Promise | None:
    """Return what is wrong with publishing to a topic for the site with this code.

    Compared level by level: `site_0010/x` is not inside `site_001`. Control characters
    and Unicode's noncharacters are no error in MQTT (§1.5.4), but brokers may close
    the connection for them, and mosquitto does.
    """
    try:
        size = len(topic.encode("utf-8"))
    except UnicodeEncodeError:  # a lone surrogate
        return _("A topic is valid UTF-8")
    if size > MAX_TOPIC_BYTES:
        return _("A topic has at most %d bytes") % MAX_TOPIC_BYTES
    if any(_is_unfit(letter) for letter in topic):
        return _("A topic holds no control characters")
    if "+" in topic or "#" in topic:
        return _("'+' and '#' are for filters: publish to one topic")
    first, *levels = topic.split("/")
    if first != code or not levels:
        return _("The topic has to begin with '%s/'") % code
    if "" in levels:
        return _("A topic has no empty level")
    if levels == ["backend", "status"]:
        return _("This topic is our own birth and will")
    return None


def _is_unfit(letter: str) -> bool:
    place = ord(letter)
    is_no_character = place & 0xFFFE == 0xFFFE or 0xFDD0 <= place <= 0xFDEF  # noqa: PLR2004 (Unicode's)
    return unicodedata.category(letter) == "Cc" or is_no_character


def reply_topic_of(topic: str) -> str | None:
    """Return the topic of the answer to a command; None if it can have none."""
    if not topic.endswith(_INPUT):
        return None
    return topic.removesuffix(_INPUT) + _OUTPUT
