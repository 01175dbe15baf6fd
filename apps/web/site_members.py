"""The members of a site on its settings page: who is one, as what, and who was."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.sites import members
from apps.sites.models import MemberRole, Site, Visibility
from apps.web.answers import administers, done, site_action
from apps.web.settings_forms import SiteForm, zones
from apps.web.site_page import answer_page

SUGGESTED = 200


def members_context(site: Site) -> dict[str, Any]:
    """Return what `_members.html` shows."""
    people = members.candidates(site).values_list("username", flat=True)
    return {
        "members": members.members_of(site),
        "roles": MemberRole.choices,
        "people": people[:SUGGESTED],
        "is_for_members": site.visibility == Visibility.MEMBERS,
        "role": MemberRole.VIEWER,
    }


@site_action(administers, page="web:site_edit")
def add(request: HttpRequest, site: Site) -> HttpResponse:
    """Make somebody a member; what is wrong is said beside the field."""
    username = request.POST.get("username", "")
    role = request.POST.get("role", "")
    try:
        row = members.member_add(site, username=username, role=role)
    except DomainError as error:
        problems = {"problems": error.fields, "username": username, "role": role}
        return _page(request, site, problems)
    text = _("%(name)s is a member now") % {"name": row.user.get_username()}
    return done(request, text, reverse("web:site_edit", args=[site.pk]))


def _page(request: HttpRequest, site: Site, problems: dict[str, Any]) -> HttpResponse:
    context = answer_page(request, site, "site_edit")
    form = {"form": SiteForm(instance=site), "zones": zones()}
    context |= form | members_context(site) | problems
    return render(request, "web/site_edit.html", context)


@site_action(administers, page="web:site_edit")
def change(request: HttpRequest, site: Site, member_id: int) -> HttpResponse:
    """Give a member another role, or none."""
    if "remove" in request.POST:
        is_done = members.member_remove(site, member_id=member_id)
        text = _("No member any more")
    else:
        role = request.POST.get("role", "")
        is_done = members.member_change(site, member_id=member_id, role=role)
        text = _("Role changed")
    if not is_done:
        text = _("This membership had ended already")
    return done(request, text, reverse("web:site_edit", args=[site.pk]))
