"""Accepting a topic: the page, or dialog, that maps its payload to sensors."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.devices.models import Datalogger, DiscoveredTopic
from apps.sites.models import Site
from apps.telemetry import mappings
from apps.telemetry.accepting import topic_decide
from apps.telemetry.protocols.decode import datalogger_of
from apps.web.answers import administers, done
from apps.web.mapping_page import Subject, answer
from apps.web.site_page import form_page, open_site

DATALOGGERS_SHOWN = 500


@form_page("web:topics")
def topic(request: HttpRequest, site_id: int, topic_id: int) -> HttpResponse:
    """Show the form; preview what it makes of the last payload; accept the topic."""
    site, context = open_site(request, site_id, "topics", administers)
    row = DiscoveredTopic.objects.filter(site=site, pk=topic_id).first()
    if row is None:
        raise Http404
    rows = Datalogger.objects.filter(site=site).order_by("type", "number")
    dataloggers = list(rows[:DATALOGGERS_SHOWN])
    named = datalogger_of(site.code, row.topic.encode())
    back = reverse("web:topics", args=[site.pk])
    context |= {
        "topic": row,
        "named": named,
        "options": [(each.pk, _name_of(each)) for each in dataloggers],
        "is_ours": row.topic.startswith(f"{site.code}/"),
        "url": reverse("web:topic", args=[site.pk, row.pk]),
        "back": back,
    }

    def save(fields: dict[str, Any]) -> HttpResponse:
        try:
            topic_decide(row, state="accepted", mapping=fields)
        except DiscoveredTopic.DoesNotExist as error:  # it has just made room
            raise Http404 from error
        return done(request, _("Accepted: its messages are readings from now on"), back)

    return answer(
        request,
        context,
        _subject(site, row, names_its_own=named is not None),
        stored=mappings.mapping_of(row),
        dataloggers=dataloggers,
        save=save,
    )


def _subject(site: Site, row: DiscoveredTopic, *, names_its_own: bool) -> Subject:
    return Subject(
        site=site,
        topic=row.topic,
        version=None,
        payload=bytes(row.last_payload),
        payload_size=row.payload_size,
        at=row.last_seen,
        paths=row.paths,
        names_its_own=names_its_own,
    )


def _name_of(row: Datalogger) -> str:
    return f"{row.type}/{row.number}" + (f" · {row.label}" if row.label else "")
