from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from apps.alerts import metrics as alerts_metrics
from apps.core.metrics import metrics_view
from apps.devices import metrics as devices_metrics
from apps.sites import metrics as sites_metrics
from apps.telemetry import metrics as telemetry_metrics

COLLECTORS = [
    sites_metrics.collect,
    devices_metrics.collect,
    telemetry_metrics.collect,
    alerts_metrics.collect,
]

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("project.api_urls")),
    path("events/", include("apps.sites.stream_urls")),
    path("metrics", metrics_view(COLLECTORS)),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("apps.web.urls")),
]

# JSON under /api/, Django's pages everywhere else.
handler400 = "apps.core.api.bad_request"
handler404 = "apps.core.api.not_found"
handler500 = "apps.core.api.server_error"
