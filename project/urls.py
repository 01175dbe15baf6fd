from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("project.api_urls")),
    path("events/", include("apps.sites.stream_urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("apps.web.urls")),
]

# JSON under /api/, Django's pages everywhere else.
handler400 = "apps.core.api.bad_request"
handler404 = "apps.core.api.not_found"
handler500 = "apps.core.api.server_error"
