"""What all pages of a site have in common: its head, its tabs, who may do what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.core.permissions import is_superuser
from apps.sites import services
from apps.sites.models import Site
from apps.sites.selectors import may_control, visible_site
from apps.telemetry.models import QuarantineReason
from apps.web import rows
from apps.web.answers import Allowed, log_in_first
from apps.web.site_html import SiteWriter
from apps.web.texts import row_labels, script_texts

View = Callable[..., HttpResponse]


@dataclass(frozen=True, slots=True)
class Tab:
    """One of a site's pages."""

    name: str
    label: str
    url: str
    is_here: bool


@dataclass(frozen=True, slots=True)
class May:
    """What this user may do at this site."""

    control: bool
    administer: bool


def page(view: Any) -> Any:  # noqa: ANN401 (decorators of Django, any signature)
    """Decorate a page for people who are logged in, as it is at this moment."""
    return login_required(never_cache(view))


def form_page(back: str) -> Callable[[View], View]:
    """Make a page of a view that takes its own form as well.

    Args:
        back: name of the page that a stranger's POST, which cannot be repeated, finds
            after the login.
    """

    def decorate(view: View) -> View:
        shown = page(view)

        @require_http_methods(["GET", "HEAD", "POST"])
        @wraps(view)
        def answer(request: HttpRequest, **kwargs: int) -> HttpResponse:
            if request.method == "POST" and not request.user.is_authenticated:
                site = [kwargs["site_id"]] if "site_id" in kwargs else []
                return log_in_first(request, reverse(back, args=site))
            found: HttpResponse = shown(request, **kwargs)
            return found

        return answer

    return decorate


def open_site(
    request: HttpRequest, site_id: int, tab: str, allowed: Allowed | None = None
) -> tuple[Site, dict[str, Any]]:
    """Return the site, and what its pages' common templates need.

    Raises:
        Http404: it is not there for this user.
        PermissionDenied: it is, but this page of it is for others.
    """
    site = visible_site(request.user, site_id)
    if allowed is not None and not allowed(request.user, site):
        raise PermissionDenied
    services.connection_of(site)  # a site made in a shell may have none yet
    now = timezone.now()
    row = rows.site_rows(request.user, [site.pk], now=now)[0]
    writer = SiteWriter(now, has_titles=True)
    may = May(may_control(request.user, site), is_superuser(request.user))
    return site, {
        "now": now,
        "site": site,
        "row": row,
        "may": may,
        "tabs": _tabs(site, tab, may),
        "pieces": {
            "data": writer.data(row),
            "state": writer.state(row),
            "actions": writer.actions(row),
        },
        "texts": script_texts() | {"site": site_texts()},
        "labels": row_labels(),
    }


def answer_page(request: HttpRequest, site: Site, tab: str) -> dict[str, Any]:
    """Return what `open_site` does, for a page that answers another address' form.

    The page then lives on at its tab's own address.
    """
    _site, context = open_site(request, site.pk, tab)
    return context | {"address": reverse(f"web:{tab}", args=[site.pk])}


def _tabs(site: Site, here: str, may: May) -> list[Tab]:
    shown = [
        ("site", _("Overview"), True),
        ("topics", _("Topics"), True),
        ("messages", _("Messages"), True),
        ("quarantine", _("Quarantine"), True),
        ("commands", _("Commands"), may.control),
        ("connection", _("Connection settings"), may.administer),
        ("site_edit", _("Site settings"), may.administer),
    ]
    return [
        Tab(name, label, reverse(f"web:{name}", args=[site.pk]), name == here)
        for name, label, is_shown in shown
        if is_shown
    ]


def site_texts() -> dict[str, Any]:
    """Return the words that the scripts of a site's pages need."""
    return {
        "failed": _("That did not work. Load the page again, then try once more."),
        "silent": _("The server did not answer in time. Look before you try again."),
        "became": {
            "understood": _("understood"),
            "unclaimed": _("nobody reads it"),
            "quarantined": _("quarantined"),
        },
        "reasons": {each.value: str(each.label) for each in QuarantineReason},
        "retained": _("retained"),
        "bytes": _("%(n)s bytes"),
        "notShown": _("not shown: %(n)s more messages"),
        "paused": _("%(n)s new"),
        "pause": _("Pause"),
        "resume": _("Go on"),
        "heard": _("messages: %(messages)s, topics that nobody reads: %(topics)s"),
    }
