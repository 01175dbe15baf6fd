"""Everything under /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView

from apps.core.schema import DocsView
from apps.core.tokens import RefreshView, TokenView
from apps.devices.api import (
    DataloggerDetail,
    DataloggerList,
    GatewayList,
    SensorsByDatalogger,
)
from apps.telemetry.api import SensorReadings

urlpatterns: list[URLPattern | URLResolver] = [
    path("auth/token/", TokenView.as_view()),
    path("auth/token/refresh/", RefreshView.as_view()),
    path(
        "schema/", SpectacularAPIView.as_view(authentication_classes=()), name="schema"
    ),
    path(
        "docs/",
        DocsView.as_view(url_name="schema", authentication_classes=()),
        name="docs",
    ),
    path("", include("apps.sites.api_urls")),
    path("mqtt/gateways/", GatewayList.as_view()),
    path("mqtt/dataloggers/", DataloggerList.as_view()),
    path("mqtt/dataloggers/<int:datalogger_id>/", DataloggerDetail.as_view()),
    # The documents call it without the slash.
    path("mqtt/sensors/by_datalogger", SensorsByDatalogger.as_view(schema=None)),
    path("mqtt/sensors/by_datalogger/", SensorsByDatalogger.as_view()),
    path("mqtt/sensors/<int:sensor_id>/readings/", SensorReadings.as_view()),
]
