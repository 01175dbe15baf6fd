"""What comes in at this moment, as it comes. The script does the rest."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.web.site_page import open_site, page


@require_safe
@page
def messages(request: HttpRequest, site_id: int) -> HttpResponse:
    _site, context = open_site(request, site_id, "messages")
    return render(request, "web/site_messages.html", context)
