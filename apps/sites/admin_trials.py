"""The admin's page that tests a connection and shows how each step went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.core.permissions import is_superuser
from apps.sites import trials
from apps.sites.models import MqttConnection
from apps.sites.trial_words import name_of

if TYPE_CHECKING:
    from django.http import HttpRequest

TEMPLATE = "admin/sites/mqttconnection/test.html"


def page(request: HttpRequest, connection_id: int) -> TemplateResponse:
    """Show the button; after it was pressed, the steps."""
    if not is_superuser(request.user):
        raise PermissionDenied
    rows = MqttConnection.objects.select_related("site")
    connection = get_object_or_404(rows, pk=connection_id)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Test connection"),
        "opts": MqttConnection._meta,
        "connection": connection,
    }
    if request.method == "POST":
        context |= _tried(connection)
    return TemplateResponse(request, TEMPLATE, context)


def _tried(connection: MqttConnection) -> dict[str, Any]:
    try:
        result = trials.run(connection, trials.Given(connection.site_id, {}))
    except DomainError as error:
        return {"problem": error.message}
    for step in result["steps"]:
        step["label"] = name_of(step["name"])
    return {"result": result}
