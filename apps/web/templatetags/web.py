"""Times and values in templates."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.devices.models import OfflineCause, Presence
from apps.web.details import in_words
from apps.web.formats import age_text, number_text
from apps.web.moments import iso, moment_text

register = template.Library()


@register.simple_tag(takes_context=True)
def age(context: dict[str, Any], moment: datetime, zone: str = "") -> SafeString:
    """Return `<time>` with the moment's age; the title is the site's local time."""
    return format_html(
        '<time datetime="{}" data-age title="{}">{}</time>',
        iso(moment),
        moment_text(moment, zone),
        age_text(moment, now=context.get("now") or timezone.now()),
    )


@register.simple_tag
def clock(moment: datetime, zone: str = "") -> SafeString:
    """Return `<time>` with date and time in the site's zone."""
    return format_html(
        '<time datetime="{}">{}</time>', iso(moment), moment_text(moment, zone)
    )


register.filter("iso", iso)
register.filter("in_words", in_words)


@register.filter
def number(count: float) -> str:
    return number_text(count)


@register.filter
def presence_in_words(presence: str) -> str:
    return str(Presence(presence).label)


@register.filter
def cause_in_words(cause: str) -> str:
    return str(OfflineCause(cause).label)
