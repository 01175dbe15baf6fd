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
