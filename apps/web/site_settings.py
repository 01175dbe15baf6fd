"""Settings of a site and of its connection, for superusers."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.permissions import is_superuser
from apps.sites import services
from apps.sites.forms import TopicFormSet
from apps.sites.models import MqttConnection, Site
from apps.web.answers import administers, done
from apps.web.settings_forms import SettingsForm, SiteForm, topics_of, zones
from apps.web.site_members import members_context
from apps.web.site_page import form_page, open_site, site_texts
from apps.web.texts import script_texts
from apps.web.trial_steps import tried


@form_page("web:connection")
def connection(request: HttpRequest, site_id: int) -> HttpResponse:
    """Show the settings; try them, or store them."""
    site, context = open_site(request, site_id, "connection", administers)
    row = services.connection_of(site)
    data = request.POST if request.method == "POST" else None
    form = SettingsForm(data, instance=row)
    topics = topics_of(row, data)
    context |= {"form": form, "topics": topics, "stored": _stored(site)}
    if data is None:
        return render(request, "web/site_connection.html", context)
    is_good = form.is_valid()  # both, so that all problems are shown at once
    if not topics.is_valid() or not is_good:
        return render(request, "web/site_connection.html", context)
    if not isinstance(topics, TopicFormSet):
        raise TypeError(topics)
    if data.get("action") == "test":
        # The form has changed its own row; what is stored decides where the stored
        # password may go.
        context["trial"] = tried(_stored(site), form.given(topics))
        return render(request, "web/site_connection.html", context)
    return _save(request, site, form, topics)


def _stored(site: Site) -> MqttConnection:
    return MqttConnection.objects.get(site=site)


def _save(
    request: HttpRequest, site: Site, form: SettingsForm, topics: TopicFormSet
) -> HttpResponse:
    url = reverse("web:connection", args=[site.pk])
    if not form.has_changed() and not topics.has_changed():
        return done(request, _("Nothing was changed."), url)
    given = form.given(topics)
    row = services.connection_configure(
        _stored(site),
        fields=given.fields,
        password=given.password,
        tls_client_key=given.tls_client_key,
        topics=given.topics,
    )
    if row.is_enabled:
        return done(request, _("The connection changes to the new settings."), url)
    return done(request, _("Saved. Start the connection to use it."), url)


# -- sites ---------------------------------------------------------------------


@form_page("web:site_edit")
def edit(request: HttpRequest, site_id: int) -> HttpResponse:
    site, context = open_site(request, site_id, "site_edit", administers)
    # The form changes its row even when it is refused: not the one of the page's head.
    row = Site.objects.get(pk=site.pk)
    form = SiteForm(request.POST if request.method == "POST" else None, instance=row)
    context |= {"form": form, "zones": zones()} | members_context(site)
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        if not fields["code"]:
            fields["code"] = site.code
        if _stored_or_told(form, lambda: services.site_update(site, fields=fields)):
            url = reverse("web:site_edit", args=[site.pk])
            return done(request, _("Saved"), url)
    return render(request, "web/site_edit.html", context)


@form_page("web:site_new")
def new(request: HttpRequest) -> HttpResponse:
    if not is_superuser(request.user):
        raise PermissionDenied
    form = SiteForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        made: list[Site] = []
        fields = form.cleaned_data
        if _stored_or_told(form, lambda: made.append(services.site_create(**fields))):
            url = reverse("web:connection", args=[made[0].pk])
            return done(request, _("The site is there. Now its broker."), url)
    context = {
        "now": timezone.now(),
        "form": form,
        "zones": zones(),
        "texts": script_texts() | {"site": site_texts()},
    }
    return render(request, "web/site_new.html", context)


def _stored_or_told(form: SiteForm, store: Any) -> bool:  # noqa: ANN401 (any result)
    """Store it; False when somebody else took the code since it was checked."""
    try:
        store()
    except IntegrityError:
        form.add_error("code", _("A site with this code exists already"))
        return False
    return True
