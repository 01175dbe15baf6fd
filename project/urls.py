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
