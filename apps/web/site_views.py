"""The first page of a site: its connection and its devices. And the care of it."""

from __future__ import annotations

from datetime import datetime

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.devices.selectors import visible_dataloggers, visible_gateways
from apps.sites import care, services, trials
from apps.sites.badges import badge_for, reason_in_words
from apps.sites.models import ConnectionEvent, Site, SuspectedGap
from apps.sites.overview import GAP_IS_NEWS
from apps.web import rows
from apps.web.answers import administers, controls, done, site_action
from apps.web.sensor_html import SensorWriter
from apps.web.site_page import answer_page, open_site, page
from apps.web.trial_steps import tried

DATALOGGERS_PER_PAGE = 50  # with 20 sensors each a page stays under 100 KB zipped
EVENTS_SHOWN = 20


@require_safe
@page
def site(request: HttpRequest, site_id: int) -> HttpResponse:
    """Show connection, timeline, gateways, dataloggers with their sensors."""
    place, context = open_site(request, site_id, "site")
    now = context["now"]
    sensors = SensorWriter(now, place.timezone)
    dataloggers = visible_dataloggers(request.user, site=place)
    shown = Paginator(dataloggers, DATALOGGERS_PER_PAGE).get_page(
        request.GET.get("page")
    )
    state = context["row"].state
    context |= {
        "counters": {"in_flight": 0, "spooled": 0} | state.counters,
        "events": timeline(state.connection_id),
        "gap": state.last_gap if is_news(state.last_gap, now) else None,
        "gateways": visible_gateways(request.user, place),
        "page": shown,
        "dataloggers": [
            (device, sensors.items(device.sensors))
            for device in rows.with_sensors(list(shown.object_list), now=now)
        ],
    }
    return render(request, "web/site.html", context)


def timeline(connection_id: int) -> list[dict[str, object]]:
    """Return the last changes and gaps of a connection, the newest first."""
    events = ConnectionEvent.objects.filter(connection=connection_id)[:EVENTS_SHOWN]
    gaps = SuspectedGap.objects.filter(connection=connection_id)[:EVENTS_SHOWN]
    shown: list[tuple[datetime, dict[str, object]]] = [
        (
            event.at,
            {
                "key": f"event-{event.pk}",
                "at": event.at,
                "badge": badge_for(event.new_status),
                "reason": reason_in_words(event.reason),
                "detail": event.detail,
            },
        )
        for event in events
    ]
    shown += [(gap.ended_at, {"key": f"gap-{gap.pk}", "gap": gap}) for gap in gaps]
    shown.sort(key=lambda one: one[0], reverse=True)
    return [entry for _, entry in shown[:EVENTS_SHOWN]]


def is_news(gap: SuspectedGap | None, now: datetime) -> bool:
    """Return whether the card itself still warns of a gap."""
    return gap is not None and now - gap.ended_at < GAP_IS_NEWS


@site_action(administers, page="web:site")
def test(request: HttpRequest, place: Site) -> HttpResponse:
    """Try the stored settings; takes up to 20 s."""
    connection = services.connection_of(place)
    outcome = tried(connection, trials.Given(place.pk, {}))
    context = answer_page(request, place, "site") | {"trial": outcome}
    return render(request, "web/site_trial.html", context)


@site_action(controls, page="web:site")
def resubscribe(request: HttpRequest, place: Site) -> HttpResponse:
    care.resubscribe(request.user, place)
    text = _("Subscribing to all topics again; retained messages come once more.")
    return done(request, text, reverse("web:site", args=[place.pk]))
