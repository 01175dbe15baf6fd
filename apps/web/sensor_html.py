"""Writes sensors with their current values: a page may show a thousand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from apps.devices.selectors import SensorState
from apps.web.formats import Ages, is_boolean, value_text
from apps.web.moments import iso, moment_text
from apps.web.stamps import EMPTY, fill, shape_of

TEXT = "text"


class SensorWriter:
    """One for each page: knows its language, its moment and the site's zone."""

    def __init__(self, now: datetime, zone: str) -> None:
        self._ages = Ages(now)
        self._zone = zone
        url = reverse("web:sensor", args=[0]).replace("/0/", "/{id}/")
        self._sensor = shape_of("_sensor.html", {"url": url})
        self._titles: dict[datetime, str] = {}  # one message brings many values
        self._no_value = _("no value yet")
        self._url = reverse("web:sensor", args=[0])

    def items(self, sensors: Iterable[SensorState]) -> SafeString:
        """Return the list's items; nothing for no sensors."""
        parts = "\n".join(self._item(sensor) for sensor in sensors)
        return mark_safe(parts)  # noqa: S308 (every item is)

    def _item(self, sensor: SensorState) -> SafeString:
        kind = kind_of(sensor)
        value = value_text(sensor.current_value, is_yes_or_no=kind == "boolean")
        unit = sensor.unit_of_measure
        return fill(
            self._sensor,
            id=sensor.id,
            kind=kind,
            at=iso(sensor.current_at),
            url=self._url.replace("/0/", f"/{sensor.id}/"),
            key=sensor.key,
            label=sensor.label,
            value=value,
            title=fill(' title="{value}"', value=value) if kind == TEXT else EMPTY,
            unit=fill(' <span class="unit">{unit}</span>', unit=unit) if unit else "",
            age=self._age(sensor.current_at),
        )

    def _age(self, moment: datetime | None) -> SafeString | str:
        if moment is None:
            return self._no_value
        if moment not in self._titles:
            self._titles[moment] = moment_text(moment, self._zone)
        return fill(
            '<time datetime="{at}" data-age title="{title}">{age}</time>',
            at=iso(moment),
            title=self._titles[moment],
            age=self._ages.text(moment),
        )


def kind_of(sensor: SensorState) -> str:
    """Return how the scripts should show new values: `text`, `boolean` or `number`."""
    if isinstance(sensor.current_value, str):
        return TEXT
    return "boolean" if is_boolean(sensor.sensor_type) else "number"
