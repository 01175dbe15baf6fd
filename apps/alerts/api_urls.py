from __future__ import annotations

from django.urls import URLPattern, path

from apps.alerts import api

urlpatterns: list[URLPattern] = [
    path("mqtt/alerts/", api.AlertList.as_view()),
    path("mqtt/alerts/channels/", api.ChannelList.as_view()),
    path("mqtt/alerts/channels/<int:channel_id>/", api.ChannelDetail.as_view()),
    path("mqtt/alerts/channels/<int:channel_id>/test/", api.ChannelTest.as_view()),
]
