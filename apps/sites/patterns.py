"""Topic filters as people configure them: relative to the site's code."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

DEFAULT_PATTERNS = (
    "gateway/+/heartbeat",
    "gateway/+/status",
    "datalogger/+/+/heartbeat",
    "datalogger/+/+/data",
    "datalogger/+/+/status",
    "gateway/+/datalogger/+/+/heartbeat",
    "gateway/+/datalogger/+/+/data",
    "gateway/+/datalogger/+/+/status",
    "gateway/+/datalogger/+/+/output",
)


def problem_with_pattern(pattern: str) -> str | Promise | None:
    """Return what is wrong with a filter, or None.

    MQTT 3.1.1 §4.7.1: '#' stands alone in the last level, '+' alone in any level.
    """
    if any(letter < " " or letter == "\x7f" for letter in pattern):
        return _("A pattern holds no control characters")
    if not pattern or pattern.startswith("/") or pattern.endswith("/"):
        return _("A pattern is relative to the site's code: no '/' at either end")
    levels = pattern.split("/")
    if "" in levels:
        return _("A pattern has no empty level")
    if any(("#" in level or "+" in level) and len(level) > 1 for level in levels):
        return _("'+' and '#' stand alone in their level")
    if "#" in levels[:-1]:
        return _("'#' stands in the last level only")
    return None


MAX_FILTER_BYTES = 1_024  # MQTT takes 65,535; nobody types such a filter


def problem_with_filter(name: str) -> str | Promise | None:
    """Return what is wrong with a whole topic filter, not one of a site; or None.

    Unlike a site's pattern it may have empty levels, as other people's topics have.
    """
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:  # a lone surrogate
        return _("A filter is valid UTF-8")
    if not name or size > MAX_FILTER_BYTES:
        return _("A filter has 1 to %d bytes") % MAX_FILTER_BYTES
    if any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in name):
        return _("A pattern holds no control characters")
    levels = name.split("/")
    if levels[0] in ("$share", "$queue"):
        return _("A shared subscription would take messages away from others")
    if any(("#" in level or "+" in level) and len(level) > 1 for level in levels):
        return _("'+' and '#' stand alone in their level")
    if "#" in levels[:-1]:
        return _("'#' stands in the last level only")
    return None


def covers(pattern: str, topic: str) -> bool:
    """Return whether a broker sends this topic to who subscribed to this filter.

    MQTT 3.1.1 §4.7: `a/#` is also `a` itself; a wildcard in front matches no topic
    that begins with `$`. A shared subscription matches as its filter does.
    """
    levels = pattern.split("/")
    if levels[0] == "$share":
        levels = levels[2:]
    names = topic.split("/")
    if names[0].startswith("$") and levels[:1] in (["#"], ["+"]):
        return False
    for place, level in enumerate(levels):
        if level == "#":
            return True
        if place == len(names):
            return False
        if level not in ("+", names[place]):
            return False
        if place == len(names) - 1 and levels[place + 1 :] == ["#"]:
            return True
    return len(levels) == len(names)
