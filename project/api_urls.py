"""Everything under /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView

from apps.core.schema import DocsView
from apps.core.tokens import RefreshView, TokenView

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
    path("", include("apps.devices.api_urls")),
    path("", include("apps.telemetry.api_urls")),
    path("", include("apps.alerts.api_urls")),
]
