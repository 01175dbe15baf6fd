"""The page of alerts: what is wrong now, and what was lately."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.alerts.models import Alert
from apps.web.texts import script_texts

OPEN_SHOWN = 200
CLOSED_SHOWN = 50


@require_safe
@login_required
@never_cache
def alerts(request: HttpRequest) -> HttpResponse:
    rows = Alert.objects.visible_to(request.user).select_related("site")
    still_open = rows.filter(closed_at=None)
    context = {
        "now": timezone.now(),
        "open": still_open[:OPEN_SHOWN],
        "open_count": still_open.count(),
        "closed": rows.exclude(closed_at=None).order_by("-closed_at")[:CLOSED_SHOWN],
        "texts": script_texts(),
    }
    return render(request, "web/alerts.html", context)
