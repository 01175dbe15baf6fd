"""Times and values in templates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.devices.models import Presence
from apps.devices.selectors import SensorState
from apps.web.formats import age_text, is_boolean, number_text, value_text

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


@register.filter
def iso(moment: datetime | None) -> str:
    """Return the moment as browsers read it: ISO 8601, UTC, milliseconds."""
    if moment is None:
        return ""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@register.filter
def number(count: float) -> str:
    return number_text(count)


@register.filter
def value(sensor: SensorState) -> str:
    return value_text(sensor.current_value, is_yes_or_no=is_boolean(sensor.sensor_type))


@register.filter
def kind(sensor: SensorState) -> str:
    """Return how the scripts should show new values: `text`, `boolean` or `number`."""
    if isinstance(sensor.current_value, str):
        return "text"
    return "boolean" if is_boolean(sensor.sensor_type) else "number"


@register.filter
def presence_in_words(presence: str) -> str:
    return str(Presence(presence).label)


def moment_text(moment: datetime, zone: str) -> str:
    local = moment.astimezone(ZoneInfo(zone or "UTC"))
    return f"{formats.date_format(local, 'j M Y, H:i:s')} {local.tzname()}"
