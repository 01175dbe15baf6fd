"""The pages. Each works without a script; the scripts keep them live."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.core.errors import DomainError
from apps.sites import selectors, services
from apps.sites.badges import badge_for
from apps.sites.models import MqttConnection, Site, Status
from apps.web import rows
from apps.web.going_back import go_back
from apps.web.site_html import SiteWriter
from apps.web.texts import script_texts


@require_safe
@login_required
@never_cache
def sites(request: HttpRequest) -> HttpResponse:
    """List the sites. The filter hides rows, so that the script can show them again."""
    now = timezone.now()
    found = rows.site_rows(request.user, now=now)
    query = request.GET.get("q", "").strip()
    wanted = request.GET.get("status", "")
    status = wanted if wanted in Status.values else ""
    summary = rows.summary_of(found)
    writer = SiteWriter(now, has_titles=False)
    context = {
        "now": now,
        "rows": [writer.row(row, is_shown=row.matches(query, status)) for row in found],
        "query": query,
        "status": status,
        "chips": [
            (name, badge_for(name), count) for name, count in summary.by_status.items()
        ],
        "summary": summary,
        "texts": script_texts(),
    }
    return render(request, "web/sites.html", context)


@require_POST
@never_cache
def start(request: HttpRequest, site_id: int) -> HttpResponse:
    done = _("Start requested: %(site)s")
    return _control(request, site_id, services.connection_start, done)


@require_POST
@never_cache
def stop(request: HttpRequest, site_id: int) -> HttpResponse:
    done = _("Stop requested: %(site)s")
    return _control(request, site_id, services.connection_stop, done)


@require_POST
@never_cache
def restart(request: HttpRequest, site_id: int) -> HttpResponse:
    done = _("Restart requested: %(site)s")
    return _control(request, site_id, services.connection_restart, done)


def _control(
    request: HttpRequest,
    site_id: int,
    service: Callable[[Site], MqttConnection],
    done: str,
) -> HttpResponse:
    page = reverse("web:site", args=[site_id])
    if not request.user.is_authenticated:
        return redirect_to_login(page)  # a POST cannot be repeated after the login
    place = selectors.visible_site(request.user, site_id)
    if not selectors.may_control(request.user, place):
        raise PermissionDenied
    try:
        service(place)
    except DomainError as error:
        words = script_texts()["errors"]
        messages.error(request, words.get(error.code, words["other"]))
    else:
        messages.success(request, done % {"site": place.name})
    return go_back(request, page)
