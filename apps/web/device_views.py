"""The pages of one datalogger and of one sensor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.core.permissions import is_superuser
from apps.devices.models import OfflineCause
from apps.devices.selectors import (
    SensorState,
    sensor_state,
    visible_datalogger,
    visible_sensor,
)
from apps.devices.uptime import WINDOWS, Uptime, outages, uptimes, window
from apps.sites import selectors
from apps.sites.models import Command
from apps.telemetry import buckets
from apps.web import ranges, rows
from apps.web.chart_texts import device_texts
from apps.web.curves import curve_path
from apps.web.durations import duration_text
from apps.web.formats import value_text
from apps.web.sensor_html import TEXT, kind_of
from apps.web.site_html import SiteWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apps.devices.models import Datalogger, PresencePeriod
    from apps.sites.models import Site

HOUR = timedelta(hours=1)
CURVES = 200  # of a page; nobody looks at more, and each has 60 values
CHOSEN_AT_FIRST = 2
MOST_CHOSEN = 6
OUTAGES_WITHIN = "30d"
OUTAGES_SHOWN = 20
COMMANDS_SHOWN = 10


@require_safe
@login_required
@never_cache
def datalogger(request: HttpRequest, datalogger_id: int) -> HttpResponse:
    """Show one datalogger: presence, values, history, uptime, commands."""
    now = timezone.now()
    row = visible_datalogger(request.user, datalogger_id)
    [state] = rows.with_sensors([row], now=now)
    may_control = selectors.may_control(request.user, row.site)
    context = {
        **_place(request, row.site, now),
        "device": state,
        "cause": OfflineCause(state.offline_cause).label,
        "gateway": row.gateway,
        "silence": duration_text(row.silence_s),
        "interval": duration_text(row.interval_s) if row.interval_s else "",
        "running": duration_text(row.uptime_s) if row.uptime_s is not None else "",
        "cards": _cards(state.sensors, now),
        "chosen": _chosen(request, state.sensors),
        **_wish(_wish_of(request, row, now), row.site),
        "uptimes": _uptimes(row, now),
        **_outages(row, now),
        "may_control": may_control,
        "commands": _commands(row) if may_control else [],
        "may_send": is_superuser(request.user),
        "input_topic": _topic(row) + "/input",
        "own": row,
    }
    return render(request, "web/datalogger.html", context)


@require_safe
@login_required
@never_cache
def sensor(request: HttpRequest, sensor_id: int) -> HttpResponse:
    """Show one sensor: its value, and its history as a chart and as a table."""
    now = timezone.now()
    row = visible_sensor(request.user, sensor_id)
    place = row.datalogger.site
    state = sensor_state(row)
    wish = _wish_of(request, row.datalogger, now)
    context = {
        **_place(request, place, now),
        "device": row.datalogger,
        "cause": OfflineCause(row.datalogger.offline_cause).label,
        "sensor": _Card(state),
        **_wish(wish, place),
        "csv_url": f"/api/v1/mqtt/sensors/{row.pk}/readings/?{wish.csv_query(now=now)}",
        "may_edit": is_superuser(request.user),
        "own": row,
    }
    return render(request, "web/sensor.html", context)


def _place(request: HttpRequest, place: Site, now: datetime) -> dict[str, object]:
    """Return what both pages say of the site, and what their charts can be asked."""
    row = rows.site_rows(request.user, [place.pk], now=now)[0]
    writer = SiteWriter(now, has_titles=True)
    names = ranges.interval_names()
    return {
        "now": now,
        "site": place,
        "connection": row,
        "pieces": {"data": writer.data(row), "state": writer.state(row)},
        "spans": ranges.span_names(),
        "intervals": [(name, names[name]) for name in ranges.INTERVALS],
        "figures": ranges.figure_names().items(),
        "texts": device_texts(),
    }


def _wish_of(request: HttpRequest, row: Datalogger, now: datetime) -> ranges.Wish:
    default = ranges.first_span(now - row.created_at)
    return ranges.wish_of(request.GET, zone=row.site.timezone, default=default)


def _wish(wish: ranges.Wish, place: Site) -> dict[str, object]:
    return {
        "wish": wish,
        "from_text": ranges.local_text(wish.start, place.timezone),
        "to_text": ranges.local_text(wish.end, place.timezone),
    }


@dataclass(frozen=True, slots=True)
class _Card:
    """A sensor with its value in words, and its last hour as a path."""

    state: SensorState
    curve: str = ""

    @property
    def kind(self) -> str:
        return kind_of(self.state)

    @property
    def text(self) -> str:
        is_yes_or_no = self.kind == "boolean"
        return value_text(self.state.current_value, is_yes_or_no=is_yes_or_no)


def _cards(sensors: Sequence[SensorState], now: datetime) -> list[_Card]:
    curves = _curves([sensor.id for sensor in sensors][:CURVES], now)
    return [_Card(sensor, curves.get(sensor.id, "")) for sensor in sensors]


def _curves(sensor_ids: Sequence[int], now: datetime) -> dict[int, str]:
    """Return the last hour of each sensor: one question for all of them."""
    if not sensor_ids:
        return {}
    start = now - HOUR
    question = buckets.Question(tuple(sensor_ids), "1m", ("avg",), "UTC", start, now)
    points: dict[int, list[tuple[datetime, float]]] = {}
    for sensor_id, at, (value,) in buckets.head(question, limit=CURVES * 61)[0]:
        if isinstance(value, int | float):
            points.setdefault(sensor_id, []).append((max(at, start), value))
    return {key: curve_path(found, start, now) for key, found in points.items()}


def _chosen(request: HttpRequest, sensors: Sequence[SensorState]) -> list[int]:
    """Return the sensors of the chart: the address's, or the first with numbers."""
    kinds = {sensor.id: kind_of(sensor) for sensor in sensors}
    known = {str(key): key for key, kind in kinds.items() if kind != TEXT}
    asked = [known[text] for text in request.GET.getlist("s") if text in known]
    numbers_first = sorted(known.values(), key=lambda key: kinds[key] == "boolean")
    return asked[:MOST_CHOSEN] or numbers_first[:CHOSEN_AT_FIRST]


def _uptimes(row: Datalogger, now: datetime) -> list[dict[str, object]]:
    windows = [window(name, now=now, zone=row.site.timezone) for name in WINDOWS]
    names = {
        "24h": _("Last 24 hours"),
        "7d": _("Last 7 days"),
        "30d": _("Last 30 days"),
        "month": _("This month"),
    }
    found = uptimes([row.pk], windows)[row.pk]
    return [
        {"name": names[each.name], "share": known.percentage, **_lengths(known)}
        for each, known in zip(windows, found, strict=True)
    ]


def _lengths(known: Uptime) -> dict[str, object]:
    return {
        "offline": duration_text(known.offline_s),
        "unknown": duration_text(known.unknown_s),
        "parts": _parts(known),
    }


def _parts(known: Uptime) -> list[tuple[str, str, str]]:
    """Return the three parts of a bar a hundred wide: presence, start, width."""
    seconds = {
        "online": known.online_s,
        "offline": known.offline_s,
        "unknown": known.unknown_s,
    }
    whole, at, parts = sum(seconds.values()) or 1.0, 0.0, []
    for presence, length in seconds.items():
        width = length / whole * 100
        parts.append((presence, f"{at:.2f}", f"{width:.2f}"))
        at += width
    return parts


def _outages(row: Datalogger, now: datetime) -> dict[str, Any]:
    within = window(OUTAGES_WITHIN, now=now, zone=row.site.timezone)
    found = outages(row.pk, within)
    return {
        "outages": [(each, _lasted(each, now)) for each in found[:OUTAGES_SHOWN]],
        "outages_count": found.count(),
    }


def _lasted(period: PresencePeriod, now: datetime) -> str:
    return duration_text(((period.ended_at or now) - period.started_at).total_seconds())


def _topic(row: Datalogger) -> str:
    """Return where this datalogger listens and speaks, as it was heard last."""
    carrier = f"gateway/{row.gateway.number}/" if row.gateway else ""
    return f"{row.site.code}/{carrier}datalogger/{row.type}/{row.number}"


def _commands(row: Datalogger) -> list[Command]:
    """Return what was published to it lately, through whichever gateway."""
    own = f"datalogger/{row.type}/{row.number}/"
    to_it = Q(topic__startswith=f"{row.site.code}/{own}") | Q(
        topic__startswith=f"{row.site.code}/gateway/", topic__contains=f"/{own}"
    )
    found = Command.objects.filter(to_it, site=row.site).defer("payload")
    return list(found[:COMMANDS_SHOWN])
