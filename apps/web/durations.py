"""How long something lasted, in the two largest units that say it. Pure."""

from __future__ import annotations

from django.utils.translation import gettext as _

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def duration_text(seconds: float) -> str:
    """Return such as `2 d 4 h`, `12 min 5 s` or `3 s`, in the active language."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return _("%(n)s s") % {"n": whole}
    large, small, length, part = _units(whole)
    count, rest = whole // length, whole % length // part
    text = large % {"n": count}
    return f"{text} {small % {'n': rest}}" if rest else text


def _units(seconds: int) -> tuple[str, str, int, int]:
    if seconds < _HOUR:
        return _("%(n)s min"), _("%(n)s s"), _MINUTE, 1
    if seconds < _DAY:
        return _("%(n)s h"), _("%(n)s min"), _HOUR, _MINUTE
    return _("%(n)s d"), _("%(n)s h"), _DAY, _HOUR
