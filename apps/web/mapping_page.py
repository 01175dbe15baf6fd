"""What the two pages that make a mapping share: the form, its preview, its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.devices.models import Datalogger
from apps.sites.models import Site
from apps.telemetry import mappings
from apps.telemetry.facts import Bad, Samples
from apps.telemetry.mapping_serializers import MappingSerializer
from apps.telemetry.models import QuarantineReason, TopicMapping
from apps.web.details import in_words
from apps.web.formats import is_boolean, value_text
from apps.web.mapping_form import Draft, as_mapping, draft_of, mark, read_draft
from apps.web.moments import moment_text
from apps.web.payload_text import payload_text
from apps.web.problems import problems_of

PAYLOAD_CHARS = 4_096
SENSOR_TYPES = ("temperature", "humidity", "pressure", "power", "energy", "boolean")

Save = Callable[[dict[str, Any]], HttpResponse]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a mapping is for, and the message that it is tried on.

    Attributes:
        site: whose messages.
        topic: of the message.
        version: of which messages the mapping is; None: of this topic's.
        payload: what is there of it.
        payload_size: of all of it, in bytes.
        at: when it came.
        paths: the values in it, each with `path` and `type`.
        names_its_own: the topic itself says whose readings they are.
    """

    site: Site
    topic: str
    version: int | None
    payload: bytes
    payload_size: int
    at: datetime
    paths: Sequence[Mapping[str, str]]
    names_its_own: bool


def answer(
    request: HttpRequest,
    context: dict[str, Any],
    subject: Subject,
    *,
    stored: TopicMapping | None,
    dataloggers: Sequence[Datalogger],
    save: Save,
) -> HttpResponse:
    """Show the form, preview what it makes of the message, or have it saved.

    Args:
        request: with `action`, where it is a POST: `preview`, else it is to be saved.
        context: of the template; this adds the draft, its preview and its problems.
        subject: see there.
        stored: the mapping as it is.
        dataloggers: those that can be chosen.
        save: stores the validated fields and says so; may raise DomainError.
    """
    is_sent = request.method == "POST"
    if is_sent:
        draft = read_draft(request.POST, subject.paths)
    else:
        draft = draft_of(
            subject.paths,
            subject.topic,
            stored,
            dataloggers,
            names_its_own=subject.names_its_own,
        )
    context |= {
        "draft": draft,
        "payload": payload_text(
            subject.payload, chars=PAYLOAD_CHARS, size=subject.payload_size
        ),
        "sensor_types": SENSOR_TYPES,
    }
    if is_sent and request.POST.get("action") != "preview":
        saved = _saved(draft, dataloggers, save)
        if isinstance(saved, HttpResponse):
            return saved
        context["problems"] = saved
    if is_sent or stored is not None:
        context["preview"] = _preview(subject, draft, dataloggers)
    return render(request, "web/site_mapping.html", context)


def _saved(
    draft: Draft, dataloggers: Sequence[Datalogger], save: Save
) -> HttpResponse | dict[str, list[str]]:
    """Return what `save` says, or what is wrong by the form's own places."""
    form = MappingSerializer(data=as_mapping(draft, dataloggers))
    problems = problems_of(form)
    if not problems:
        try:
            return save(form.validated_data)
        except DomainError as error:
            problems = error.fields or {"": [error.message]}
    others = mark(draft, problems)
    return {
        "type": others.pop("datalogger.type", []),
        "number": others.pop("datalogger.number", []),
        "ts_path": others.pop("ts_path", []),
        "ticks": others.pop("values", []),
        "general": [problem for found in others.values() for problem in found],
    }


def _preview(
    subject: Subject, draft: Draft, dataloggers: Sequence[Datalogger]
) -> dict[str, Any]:
    """Return what the mapping makes of the message, or why it does not."""
    if not draft.used:
        return {}
    form = MappingSerializer(data=as_mapping(draft, dataloggers))
    problems = problems_of(form)
    if problems:
        return {"problem": next(iter(problems.values()))[0]}
    fact = _fact(subject, form.validated_data)
    if isinstance(fact, str):
        return {"problem": fact}
    if isinstance(fact, Bad):
        label = QuarantineReason(fact.reason).label
        return {"problem": f"{label}: {in_words(fact.detail)}"}
    return _readings(fact, form.validated_data["values"], subject.site)


def _fact(subject: Subject, fields: dict[str, Any]) -> Samples | Bad | str:
    """Return what comes out, or why the mapping itself cannot be used."""
    is_for_topic = subject.version is None
    is_named = fields["datalogger_type"] and fields["datalogger_number"]
    if is_for_topic and not is_named:
        # Whose readings they are changes nothing about them.
        fields |= {"datalogger_type": "any", "datalogger_number": "1"}
    mapping = TopicMapping(
        site=subject.site,
        topic=subject.topic if is_for_topic else "",
        version=subject.version,
        **fields,
    )
    received_us = int(subject.at.timestamp() * 1e6)
    try:
        return mappings.preview(mapping, subject.payload, received_us=received_us)
    except DomainError as error:
        return str(next(iter(error.fields.values()), [error.message])[0])


def _readings(
    fact: Samples, values: Sequence[Mapping[str, Any]], site: Site
) -> dict[str, Any]:
    told = {value["key"]: value for value in values}
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
