"""Publishing for a device, and the ledger of what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from rest_framework.throttling import ScopedRateThrottle

from apps.core.errors import DomainError
from apps.devices.models import Datalogger
from apps.sites import publish_requests
from apps.sites.models import Command, CommandReason, CommandState, Site
from apps.sites.publish_api import Publish
from apps.sites.publish_serializers import PublishSerializer, problem_with_key
from apps.web.answers import administers, controls, done, site_action
from apps.web.formats import number_text
from apps.web.problems import problems_of, under
from apps.web.site_page import answer_page, open_site, page

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

PER_PAGE = 30
SUGGESTED = 200
WAITS_S = ("5", "30", "120")
MAX_ID = 2**63 - 1
FIELDS = ("topic", "message", "qos", "retain", "reply_timeout_s")
TONES = {
    CommandState.QUEUED: "blue",
    CommandState.SENT: "blue",
    CommandState.DELIVERED: "green",
    CommandState.ANSWERED: "green",
    CommandState.NO_REPLY: "orange",
}


class TooManyError(DomainError):
    code = "throttled"
    status = 429

    def __init__(self, wait_s: float) -> None:
        super().__init__(_("Too many messages; wait %d s") % max(1, round(wait_s)))


@require_safe
@page
def commands(request: HttpRequest, site_id: int) -> HttpResponse:
    site, context = open_site(request, site_id, "commands", controls)
    return render(request, "web/site_commands.html", context | _ledger(request, site))


def _ledger(request: HttpRequest, site: Site) -> dict[str, Any]:
    rows = Command.objects.filter(site=site).defer("payload")
    found = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    sent = request.GET.get("sent", "")
    is_id = sent.isascii() and sent.isdigit() and int(sent) <= MAX_ID
    return {
        "page": found,
        "commands": [_shown(row) for row in found.object_list],
        "sent": next((_shown(row) for row in rows.filter(pk=int(sent))), None)
        if is_id
        else None,
        "inputs": _inputs(site),
        "waits": WAITS_S,
        "key": uuid4().hex,
        "given": {"qos": "1", "reply_timeout_s": ""},
    }


def _shown(row: Command) -> dict[str, Any]:
    reason = str(CommandReason(row.reason).label) if row.reason else ""
    ms = row.puback_ms
    return {
        "row": row,
        "tone": TONES.get(CommandState(row.state), "red"),
        "pulses": row.state in (CommandState.QUEUED, CommandState.SENT),
        "waits": row.reply_until is not None and row.state == CommandState.DELIVERED,
        "reason": reason,
        "ms": "" if ms is None else number_text(round(ms, 1)),
    }


def _inputs(site: Site) -> list[str]:
    """Return the topics on which known dataloggers take commands."""
    known = Datalogger.objects.filter(site=site, gateway__isnull=False)
    names = known.order_by("type", "number").values_list(
        "gateway__number", "type", "number"
    )
    return [
        f"gateway/{gateway}/datalogger/{type_}/{number}/input"
        for gateway, type_, number in names[:SUGGESTED]
    ]


@site_action(administers, page="web:commands")
def publish(request: HttpRequest, site: Site) -> HttpResponse:
    """Publish, and answer when the broker has confirmed it."""
    given = {
        "topic": f"{site.code}/{request.POST.get('topic', '')}",
        "message": request.POST.get("message", "").replace("\r\n", "\n"),
        "qos": request.POST.get("qos", ""),
        "retain": "retain" in request.POST,
        "reply_timeout_s": request.POST.get("reply_timeout_s") or None,
    }
    form = PublishSerializer(data=given, context={"code": site.code})
    if problems := problems_of(form):
        context = answer_page(request, site, "commands")
        context |= _ledger(request, site) | {
            "given": request.POST,
            "problems": {name: under(problems, name) for name in FIELDS},
        }
        return render(request, "web/site_commands.html", context)
    _count(request)
    once = request.POST.get("key", "")
    row = publish_requests.publish(
        cast("User", request.user),
        site,
        form.wish(),
        key=None if not once or problem_with_key(once) else once,
    )
    text = _("The broker has it, after %(ms)s ms") % {
        "ms": number_text(round(row.puback_ms or 0.0, 1))
    }
    url = reverse("web:commands", args=[site.pk])
    return done(request, text, f"{url}?sent={row.pk}")


def _count(request: HttpRequest) -> None:
    """Count it together with what this user publishes through the API."""
    throttle = ScopedRateThrottle()
    if not throttle.allow_request(cast("Request", request), cast("APIView", Publish)):
        raise TooManyError(throttle.wait() or 1.0)
