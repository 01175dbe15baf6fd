"""A mapping for a payload version that has no decoder, made from a message of it."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.devices.payloads import describe
from apps.sites.models import Site
from apps.telemetry import mappings
from apps.telemetry.models import QuarantinedMessage, QuarantineReason, TopicMapping
from apps.telemetry.protocols.decode import version_of
from apps.telemetry.replay import replay
from apps.telemetry.rules import site_rules
from apps.web.answers import administers, done
from apps.web.mapping_page import Subject, answer
from apps.web.site_page import form_page, open_site
from apps.web.site_quarantine import replayed_text

FIELDS = ("ts_path", "values")


@form_page("web:quarantine")
def version(request: HttpRequest, site_id: int, message_id: int) -> HttpResponse:
    """Show the form; preview what it makes of the message; save it and read again."""
    site, context = open_site(request, site_id, "quarantine", administers)
    rows = QuarantinedMessage.objects.filter(
        site=site, reason=QuarantineReason.UNKNOWN_VERSION
    )
    row = rows.filter(pk=message_id).first()
    if row is None:
        raise Http404
    number = version_of(
        site.code, row.topic.encode(), bytes(row.payload), rules=site_rules(site.pk)
    )
    if number is None:  # a text, say: versions are numbers
        raise Http404
    mapping = TopicMapping.objects.filter(site=site, version=number).first()
    context |= {
        "topic": row,
        "version": number,
        "is_ours": True,
        "url": reverse("web:version", args=[site.pk, row.pk]),
        "back": reverse("web:quarantine", args=[site.pk]),
        "is_replay_wanted": request.method != "POST" or "replay" in request.POST,
    }

    def save(fields: dict[str, Any]) -> HttpResponse:
        told = {name: fields[name] for name in FIELDS}
        if mapping is None:
            mappings.mapping_create(site, version=number, **told)
        else:
            mappings.mapping_update(mapping, fields=told | {"is_active": True})
        return done(request, _outcome(site, request), context["back"])

    return answer(
        request,
        context,
        _subject(site, row, number),
        stored=mapping,
        dataloggers=[],
        save=save,
    )


def _outcome(site: Site, request: HttpRequest) -> str:
    """Say what was saved; read what waits again if that was wanted."""
    saved = _("Saved: messages of this version are readings from now on")
    if "replay" not in request.POST:
        return saved
    result = replay(site, reason=QuarantineReason.UNKNOWN_VERSION)
    return f"{saved}. {replayed_text(result)}"


def _subject(site: Site, row: QuarantinedMessage, number: int) -> Subject:
    payload = bytes(row.payload)
    found = describe(payload, is_cut=row.payload_size > len(payload))
    return Subject(
        site=site,
        topic=row.topic,
        version=number,
        payload=payload,
        payload_size=row.payload_size,
        at=row.received_at,
        paths=[path._asdict() for path in found.paths],
        names_its_own=True,
    )
