"""The first page of a site: its connection and its devices. And the care of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.devices.selectors import visible_dataloggers, visible_gateways
from apps.sites import care, services, trials
from apps.sites.badges import badge_for, reason_in_words
from apps.sites.models import ConnectionEvent, Site, Status
from apps.web import rows
from apps.web.answers import administers, controls, done, site_action
from apps.web.sensor_html import SensorWriter
from apps.web.site_page import open_site, page
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
    events = _timeline(context["row"].state.connection_id)
    counters = context["row"].state.counters
    in_flight = counters.get("in_flight", 0)
    context |= {
        # The counters are those of what is stored; what is on its way came in, too.
        "ledger": {
            "received": counters["received"] + in_flight,
            "in_flight": in_flight,
        },
        "events": events,
        "has_gap": has_gap(context["row"].state.session_present, events),
        "gateways": visible_gateways(request.user, place),
        "page": shown,
        "dataloggers": [
            (device, sensors.items(device.sensors))
            for device in rows.with_sensors(list(shown.object_list), now=now)
        ],
    }
    return render(request, "web/site.html", context)


def _timeline(connection_id: int) -> list[dict[str, object]]:
    """Return the last changes of a connection, the newest first."""
    events = ConnectionEvent.objects.filter(connection=connection_id)[:EVENTS_SHOWN]
    return [
        {
            "id": event.pk,
            "status": event.new_status,
            "at": event.at,
            "badge": badge_for(event.new_status),
            "reason": reason_in_words(event.reason),
            "detail": event.detail,
        }
        for event in events
    ]


def has_gap(
    session_present: bool | None, events: Sequence[Mapping[str, object]]
) -> bool:
    """Return whether messages may be missing from before the last connect.

    A broker that does not know us is no news at the first connect, nor after a stop.

    Args:
        session_present: whether the broker still had our session; None: not known.
        events: the timeline, the newest first.
    """
    if session_present is not False:
        return False
    statuses = [event["status"] for event in events]
    if Status.CONNECTED not in statuses:
        return False
    before = statuses[statuses.index(Status.CONNECTED) + 1 :]
    if Status.CONNECTED not in before:
        return False
    between = before[: before.index(Status.CONNECTED)]
    return not {Status.DISCONNECTED, Status.DISABLED} & set(between)


@site_action(administers, page="web:site")
def test(request: HttpRequest, place: Site) -> HttpResponse:
    """Try the stored settings; takes up to 20 s."""
    connection = services.connection_of(place)
    outcome = tried(connection, trials.Given(place.pk, {}))
    _place, context = open_site(request, place.pk, "site")
    return render(request, "web/site_trial.html", context | {"trial": outcome})


@site_action(controls, page="web:site")
def resubscribe(request: HttpRequest, place: Site) -> HttpResponse:
    care.resubscribe(request.user, place)
    text = _("Subscribing to all topics again; retained messages come once more.")
    return done(request, text, reverse("web:site", args=[place.pk]))
