"""Discovered topics: the list, the sessions that look for more, quick decisions."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.devices.discovery_serializers import DiscoverRequest
from apps.devices.discovery_sessions import (
    DEFAULT_S,
    MAX_S,
    OPEN,
    session_start,
    session_state,
    session_stop,
)
from apps.devices.models import (
    DiscoveredTopic,
    DiscoverySession,
    SessionState,
    TopicState,
)
from apps.sites.models import ConnectionStats, Site
from apps.telemetry.accepting import topic_decide, topic_forget
from apps.telemetry.models import TopicMapping
from apps.web.answers import administers, done, site_action
from apps.web.formats import number_text
from apps.web.payload_text import payload_text
from apps.web.problems import problems_of, under
from apps.web.site_page import answer_page, open_site, page

PER_PAGE = 50
PAYLOAD_CHARS = 240
MAX_QUERY = 200


@require_safe
@page
def topics(request: HttpRequest, site_id: int) -> HttpResponse:
    """List what nobody reads yet; and start a session that looks for more."""
    site, context = open_site(request, site_id, "topics")
    return render(request, "web/site_topics.html", context | listing(request, site))


def listing(request: HttpRequest, site: Site) -> dict[str, Any]:
    """Return what the page shows beside the site's head, in six queries.

    The ids of all that fit are read, since a site keeps 5,000 topics at most: to count
    them and to skip to a page takes as long as that, each.
    """
    query = request.GET.get("q", "").strip().replace("\0", "")[:MAX_QUERY]
    wanted = request.GET.get("state", "")
    state = wanted if wanted in TopicState.values else ""
    rows = DiscoveredTopic.objects.filter(site=site)
    counts = dict(rows.order_by().values_list("state").annotate(count=Count("pk")))
    shown = rows.filter(state=state) if state else rows
    if query:
        shown = shown.filter(topic__icontains=query)
    ids = list(shown.values_list("pk", flat=True))
    found = Paginator(ids, PER_PAGE).get_page(request.GET.get("page"))
    # By id: sorting the rows would carry thousands of payloads along.
    on_page = DiscoveredTopic.objects.filter(pk__in=found.object_list)
    stats = ConnectionStats.objects.filter(connection__site=site)
    return {
        "query": query,
        "state": state,
        "chips": [(each, each.label, counts.get(each, 0)) for each in TopicState],
        "total": sum(counts.values()),
        "page": found,
        "topics": _shown(site, list(on_page)),
        "session": _session(site),
        "dropped": stats.values_list("topics_dropped", flat=True).first() or 0,
        "default_s": DEFAULT_S,
        "max_s": MAX_S,
    }


def _shown(site: Site, rows: list[DiscoveredTopic]) -> list[dict[str, object]]:
    mappings = TopicMapping.objects.filter(
        site=site, digest__in=[row.digest for row in rows]
    )
    mapping_of = {mapping.digest: mapping for mapping in mappings}
    return [
        {
            "row": row,
            "payload": payload_text(
                bytes(row.last_payload), chars=PAYLOAD_CHARS, size=row.payload_size
            ),
            "rate": ""
            if row.rate_per_minute is None
            else number_text(round(row.rate_per_minute, 1)),
            "mapping": mapping_of.get(row.digest),
            "is_ours": row.topic.startswith(f"{site.code}/"),
        }
        for row in rows
    ]


def _session(site: Site) -> dict[str, Any] | None:
    """Return the last session, or the one that runs."""
    row = DiscoverySession.objects.filter(site=site).first()
    if row is None:
        return None
    known = session_state(row, now=timezone.now())
    is_opening = row.state == SessionState.WAITING and row.taken_at is not None
    return known | {
        "label": _("waiting for the broker") if is_opening else row.get_state_display(),
        "is_running": row.state in OPEN,
        "elapsed_s": round(known["duration_s"] - known["seconds_left"]),
    }


@site_action(administers, page="web:topics")
def discover(request: HttpRequest, site: Site) -> HttpResponse:
    """Start to listen, or stop it."""
    url = reverse("web:topics", args=[site.pk])
    if "stop" in request.POST:
        session_stop(site, username=request.user.get_username())
        return done(request, _("No longer listening"), url)
    filters = request.POST.get("filters", "").splitlines()
    given = {
        "duration_s": request.POST.get("duration_s", ""),
        "filters": [name.strip() for name in filters if name.strip()],
    }
    form = DiscoverRequest(data=given)
    if problems := problems_of(form):
        context = answer_page(request, site, "topics")
        context |= listing(request, site) | {
            "given": request.POST,
            "problems": {name: under(problems, name) for name in given},
        }
        return render(request, "web/site_topics.html", context)
    session_start(site, user=request.user, **form.validated_data)
    return done(request, _("Listening to everything under the site's code"), url)


@site_action(administers, page="web:topics")
def decide(request: HttpRequest, site: Site, topic_id: int) -> HttpResponse:
    """Ignore a topic, put it back among the new ones, or forget it."""
    topic = DiscoveredTopic.objects.filter(site=site, pk=topic_id).first()
    wanted = request.POST.get("state", "")
    if topic is None or wanted not in ("new", "ignored", "forgotten"):
        raise Http404
    try:
        if wanted == "forgotten":
            topic_forget(topic)
        else:
            topic_decide(topic, state=wanted)
    except DiscoveredTopic.DoesNotExist as error:  # it has just made room
        raise Http404 from error
    words = {
        "new": _("Back among the new topics"),
        "ignored": _("Ignored"),
        "forgotten": _("Forgotten, until it is seen again"),
    }
    return done(request, words[wanted], reverse("web:topics", args=[site.pk]))
