"""The messages that could not be understood: why, and reading them once more."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.core.errors import DomainError
from apps.sites.models import Site
from apps.telemetry.models import QuarantinedMessage, QuarantineReason
from apps.telemetry.protocols.decode import version_of
from apps.telemetry.protocols.mapped import NO_RULES, SiteRules
from apps.telemetry.quarantine_serializers import LISTED_BYTES, listed
from apps.telemetry.replay import Replayed, is_readable, replay
from apps.telemetry.rules import site_rules
from apps.web.answers import administers, done, site_action
from apps.web.payload_text import payload_text
from apps.web.site_page import open_site, page

PER_PAGE = 50
MAX_ID = 2**63 - 1
UNKNOWN = QuarantineReason.UNKNOWN_VERSION


class NothingChosenError(DomainError):
    code = "nothing_chosen"

    def __init__(self) -> None:
        super().__init__(_("No message is chosen."))


@require_safe
@page
def quarantine(request: HttpRequest, site_id: int) -> HttpResponse:
    site, context = open_site(request, site_id, "quarantine")
    return render(
        request, "web/site_quarantine.html", context | _listing(request, site)
    )


def _listing(request: HttpRequest, site: Site) -> dict[str, Any]:
    wanted = request.GET.get("reason", "")
    reason = wanted if wanted in QuarantineReason.values else ""
    show_replayed = "replayed" in request.GET
    rows = QuarantinedMessage.objects.filter(
        site=site, replayed_at__isnull=not show_replayed
    )
    counted = rows.order_by().values_list("reason").annotate(count=Count("pk"))
    counts = dict(counted)
    shown = rows.filter(reason=reason) if reason else rows
    found = Paginator(shown.values_list("pk", flat=True), PER_PAGE).get_page(
        request.GET.get("page")
    )
    # By id: PostgreSQL would cut the payload of every row that is skipped as well.
    on_page = list(
        listed(QuarantinedMessage.objects.filter(pk__in=list(found.object_list)))
    )
    is_strange = any(row.reason == UNKNOWN for row in on_page)
    rules = site_rules(site.pk) if is_strange else NO_RULES
    return {
        "reason": reason,
        "show_replayed": show_replayed,
        "chips": [
            (each, each.label, counts[each])
            for each in QuarantineReason
            if each in counts
        ],
        "total": sum(counts.values()),
        "page": found,
        "messages_shown": [_shown(row, site.code, rules) for row in on_page],
    }


def _shown(row: QuarantinedMessage, code: str, rules: SiteRules) -> dict[str, Any]:
    head = bytes(row.head)  # type: ignore[attr-defined]  # by `listed`
    can_replay = row.replayed_at is None and is_readable(row)
    version = None
    if row.reason == UNKNOWN and can_replay:
        version = version_of(code, row.topic.encode(), head, rules=rules)
    return {
        "row": row,
        "payload": payload_text(head, chars=LISTED_BYTES, size=row.payload_size),
        "can_replay": can_replay,
        "version": version,  # None also where its payload is long; others are not
    }


@site_action(administers, page="web:quarantine")
def replay_some(request: HttpRequest, site: Site) -> HttpResponse:
    """Read again what was chosen: some messages, those of a reason, or all."""
    wanted = request.POST.get("which", "")
    if wanted == "chosen":
        ids = [int(each) for each in request.POST.getlist("id") if _is_id(each)]
        if not ids:
            raise NothingChosenError
        result = replay(site, ids=ids)
    else:
        reason = request.POST.get("reason", "")
        known = reason in QuarantineReason.values
        result = replay(site, reason=reason if known else "")
    return done(
        request, replayed_text(result), reverse("web:quarantine", args=[site.pk])
    )


def replayed_text(result: Replayed) -> str:
    return _(
        "%(good)d understood and stored, %(bad)d still not understood, "
        "%(skipped)d cannot be read again"
    ) % {
        "good": result.replayed,
        "bad": result.still_quarantined,
        "skipped": result.skipped,
    }


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= MAX_ID
