"""Accepting a topic: the page, or dialog, that maps its payload to sensors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.core.errors import DomainError
from apps.devices.models import Datalogger, DiscoveredTopic
from apps.sites.models import Site
from apps.telemetry import mappings
from apps.telemetry.accepting import topic_decide
from apps.telemetry.facts import Bad, Samples
from apps.telemetry.mapping_serializers import MappingSerializer
from apps.telemetry.models import QuarantineReason, TopicMapping
from apps.telemetry.protocols.decode import datalogger_of
from apps.web.answers import administers, done, log_in_first
from apps.web.formats import is_boolean, value_text
from apps.web.mapping_form import Draft, as_mapping, draft_of, mark, read_draft
from apps.web.moments import moment_text
from apps.web.payload_text import payload_text
from apps.web.problems import problems_of
from apps.web.site_page import open_site, page

DATALOGGERS_SHOWN = 500
PAYLOAD_CHARS = 4_096
SENSOR_TYPES = ("temperature", "humidity", "pressure", "power", "energy", "boolean")


@require_http_methods(["GET", "HEAD", "POST"])
def topic(request: HttpRequest, site_id: int, topic_id: int) -> HttpResponse:
    url = reverse("web:topics", args=[site_id])
    if request.method == "POST" and not request.user.is_authenticated:
        return log_in_first(request, url)
    answer: HttpResponse = _topic(request, site_id, topic_id)
    return answer


@page
def _topic(request: HttpRequest, site_id: int, topic_id: int) -> HttpResponse:
    """Show the form; preview what it makes of the last payload; accept the topic."""
    site, context = open_site(request, site_id, "topics", administers)
    row = DiscoveredTopic.objects.filter(site=site, pk=topic_id).first()
    if row is None:
        raise Http404
    context |= _choices(site, row)
    if request.method != "POST":
        mapping = mappings.mapping_of(row)
        draft = draft_of(
            row,
            mapping,
            context["dataloggers"],
            names_its_own=context["named"] is not None,
        )
        if mapping is not None:
            context["preview"] = _preview(site, row, draft, context["dataloggers"])
        devices = _devices(draft, context["dataloggers"])
        context |= {"draft": draft, "devices": devices}
        return render(request, "web/site_mapping.html", context)
    draft = read_draft(request.POST, row)
    context |= {"draft": draft, "devices": _devices(draft, context["dataloggers"])}
    if request.POST.get("action") == "preview":
        context["preview"] = _preview(site, row, draft, context["dataloggers"])
        return render(request, "web/site_mapping.html", context)
    return _accept(request, site, row, context)


def _choices(site: Site, row: DiscoveredTopic) -> dict[str, Any]:
    """Return what the form offers."""
    dataloggers = Datalogger.objects.filter(site=site).order_by("type", "number")
    return {
        "topic": row,
        "payload": payload_text(
            bytes(row.last_payload), chars=PAYLOAD_CHARS, size=row.payload_size
        ),
        "dataloggers": list(dataloggers[:DATALOGGERS_SHOWN]),
        "named": datalogger_of(site.code, row.topic.encode()),
        "is_ours": row.topic.startswith(f"{site.code}/"),
        "sensor_types": SENSOR_TYPES,
    }


def _devices(
    draft: Draft, dataloggers: Sequence[Datalogger]
) -> list[tuple[int, str, bool]]:
    """Return the options: id, name, and whether it is chosen."""
    return [
        (
            row.pk,
            f"{row.type}/{row.number}" + (f" · {row.label}" if row.label else ""),
            str(row.pk) == draft.device,
        )
        for row in dataloggers
    ]


def _accept(
    request: HttpRequest, site: Site, row: DiscoveredTopic, context: dict[str, Any]
) -> HttpResponse:
    draft: Draft = context["draft"]
    form = MappingSerializer(data=as_mapping(draft, context["dataloggers"]))
    problems = problems_of(form)
    if not problems:
        try:
            topic_decide(row, state="accepted", mapping=form.validated_data)
        except DiscoveredTopic.DoesNotExist as error:  # it has just made room
            raise Http404 from error
        except DomainError as error:
            problems = error.fields or {"": [error.message]}
        else:
            text = _("Accepted: its messages are readings from now on")
            return done(request, text, reverse("web:topics", args=[site.pk]))
    others = mark(draft, problems)
    context["problems"] = {
        "type": others.pop("datalogger.type", []),
        "number": others.pop("datalogger.number", []),
        "ts_path": others.pop("ts_path", []),
        "ticks": others.pop("values", []),
        "general": [problem for found in others.values() for problem in found],
    }
    context["preview"] = _preview(site, row, draft, context["dataloggers"])
    return render(request, "web/site_mapping.html", context)


def _preview(
    site: Site, row: DiscoveredTopic, draft: Draft, dataloggers: Sequence[Datalogger]
) -> dict[str, Any]:
    """Return what the mapping makes of the last payload, or why it does not."""
    if not draft.used:
        return {}
    form = MappingSerializer(data=as_mapping(draft, dataloggers))
    problems = problems_of(form)
    if problems:
        return {"problem": next(iter(problems.values()))[0]}
    fields = form.validated_data
    if not fields["datalogger_type"] or not fields["datalogger_number"]:
        # Whose readings they are changes nothing about them.
        fields |= {"datalogger_type": "any", "datalogger_number": "1"}
    mapping = TopicMapping(site=site, topic=row.topic, **fields)
    received_us = int(row.last_seen.timestamp() * 1e6)
    try:
        fact = mappings.preview(
            mapping, bytes(row.last_payload), received_us=received_us
        )
    except DomainError as error:
        return {"problem": next(iter(error.fields.values()), [error.message])[0]}
    if isinstance(fact, Bad):
        label = QuarantineReason(fact.reason).label
        return {"problem": f"{label}: {fact.detail}"}
    return _readings(fact, mapping, site)


def _readings(fact: Samples, mapping: TopicMapping, site: Site) -> dict[str, Any]:
    told = {value["key"]: value for value in mapping.values}
    readings = [
        {
            "key": sample.key,
            "label": told[sample.key].get("label") or sample.key,
            "unit": told[sample.key].get("unit", ""),
            "value": value_text(
                sample.value if sample.text is None else sample.text,
                is_yes_or_no=is_boolean(told[sample.key].get("type", "")),
            ),
            "at": _at(sample.measured_us, site.timezone),
        }
        for sample in fact.samples
    ]
    found = {sample.key for sample in fact.samples}
    return {"readings": readings, "missing": [key for key in told if key not in found]}


def _at(us: int | None, zone: str) -> str:
    if us is None:
        return _("time of receipt")
    return moment_text(datetime.fromtimestamp(us / 1e6, UTC), zone)
