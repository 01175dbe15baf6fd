"""What a form's view answers: to a script in JSON, else a message on the next page.

A script that gets a page instead takes the parts of it that changed: what is wrong
with the fields, a test's steps, a preview.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.core.errors import DomainError
from apps.core.permissions import is_superuser
from apps.sites.models import Site
from apps.sites.selectors import may_control, visible_site

if TYPE_CHECKING:
    from apps.sites.selectors import Person

P = ParamSpec("P")
Allowed = Callable[["Person", Site], bool]

SCRIPT = "X-Script"
LOGGED_OUT = 401


def administers(user: Person, site: Site) -> bool:
    return is_superuser(user)


def controls(user: Person, site: Site) -> bool:
    return may_control(user, site)


def is_scripted(request: HttpRequest) -> bool:
    return SCRIPT in request.headers


def done(request: HttpRequest, text: str, url: str) -> HttpResponse:
    """Say that it worked, and where its result is shown."""
    if is_scripted(request):
        return JsonResponse({"text": text, "tone": "green", "url": url})
    messages.success(request, text)
    return redirect(url)


def refused(request: HttpRequest, error: DomainError, url: str) -> HttpResponse:
    """Say why it did not work."""
    text = words_of(error)
    if is_scripted(request):
        return JsonResponse({"text": text, "tone": "red"}, status=error.status)
    messages.error(request, text)
    return redirect(url)


def words_of(error: DomainError) -> str:
    """Return an error in the words of the pages: some are written for programs."""
    words = {
        "not_configured": _("This site has no broker yet."),
        "not_connected": _("The site is not connected to its broker: start it first."),
        "already_running": _("Somebody listens already; wait for the end, or stop it."),
        "unavailable": _("The worker cannot be reached now; try again"),
    }
    return words.get(error.code, error.message)


def site_action(
    allowed: Allowed, *, page: str
) -> Callable[
    [Callable[Concatenate[HttpRequest, Site, P], HttpResponse]],
    Callable[..., HttpResponse],
]:
    """Make a view of a function that changes something at a site.

    Args:
        allowed: says who may; for those who may not see the site it is not there.
        page: name of the page that says why it did not work, and that a GET finds.
    """

    def decorate(
        act: Callable[Concatenate[HttpRequest, Site, P], HttpResponse],
    ) -> Callable[..., HttpResponse]:
        @require_http_methods(["GET", "HEAD", "POST"])
        @never_cache
        @wraps(act)
        def view(
            request: HttpRequest, site_id: int, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponse:
            url = reverse(page, args=[site_id])
            if request.method != "POST":  # the address of an answer, loaded once more
                return redirect(url)
            if not request.user.is_authenticated:
                return log_in_first(request, url)
            site = visible_site(request.user, site_id)
            if not allowed(request.user, site):
                raise PermissionDenied
            try:
                return act(request, site, *args, **kwargs)
            except DomainError as error:
                return refused(request, error, url)

        return view

    return decorate


def log_in_first(request: HttpRequest, url: str) -> HttpResponse:
    """Send a stranger to the login; a POST cannot be repeated after it."""
    if not is_scripted(request):
        return redirect_to_login(url)
    text = _("You are logged out. Load the page again.")
    return JsonResponse({"text": text, "tone": "red"}, status=LOGGED_OUT)
