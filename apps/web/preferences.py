"""Light or dark, as this browser chose: in a cookie, so that no page flashes."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from apps.web.going_back import go_back

COOKIE = "theme"
THEMES = ("light", "dark")  # anything else: as the system says
_YEAR_S = 365 * 86_400


@require_POST
def theme(request: HttpRequest) -> HttpResponseRedirect:
    response = go_back(request, reverse("web:sites"))
    chosen = request.POST.get("theme", "")
    if chosen not in THEMES:
        response.delete_cookie(COOKIE, samesite="Lax")
        return response
    response.set_cookie(
        COOKIE,
        chosen,
        max_age=_YEAR_S,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
    )
    return response
