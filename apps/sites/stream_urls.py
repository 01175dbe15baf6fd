from __future__ import annotations

from django.urls import path, re_path

from apps.core.stream_views import not_found
from apps.sites import streams

app_name = "events"
urlpatterns = [
    path("status/", streams.status, name="status"),
    path("status", streams.status),
    path("sites/<int:site_id>/", streams.site, name="site"),
    path("sites/<int:site_id>", streams.site),
    path("sites/<int:site_id>/messages/", streams.messages, name="messages"),
    path("sites/<int:site_id>/messages", streams.messages),
    re_path("", not_found),
]
