from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from apps.web import (
    device_views,
    site_commands,
    site_mapping,
    site_members,
    site_messages,
    site_quarantine,
    site_settings,
    site_topics,
    site_version,
    site_views,
    views,
)
from apps.web.alerts import alerts
from apps.web.login import LoginView
from apps.web.preferences import theme

app_name = "web"
urlpatterns = [
    path("", views.sites, name="sites"),
    path("alerts/", alerts, name="alerts"),
    path("sites/new/", site_settings.new, name="site_new"),
    path("sites/<int:site_id>/", site_views.site, name="site"),
    path("sites/<int:site_id>/edit/", site_settings.edit, name="site_edit"),
    path("sites/<int:site_id>/members/", site_members.add, name="members"),
    path(
        "sites/<int:site_id>/members/<int:member_id>/",
        site_members.change,
        name="member",
    ),
    path(
        "sites/<int:site_id>/connection/", site_settings.connection, name="connection"
    ),
    path("sites/<int:site_id>/test/", site_views.test, name="test"),
    path(
        "sites/<int:site_id>/resubscribe/", site_views.resubscribe, name="resubscribe"
    ),
    path("sites/<int:site_id>/topics/", site_topics.topics, name="topics"),
    path("sites/<int:site_id>/topics/discover/", site_topics.discover, name="discover"),
    path(
        "sites/<int:site_id>/topics/<int:topic_id>/", site_mapping.topic, name="topic"
    ),
    path(
        "sites/<int:site_id>/topics/<int:topic_id>/decide/",
        site_topics.decide,
        name="decide",
    ),
    path("sites/<int:site_id>/messages/", site_messages.messages, name="messages"),
    path(
        "sites/<int:site_id>/quarantine/", site_quarantine.quarantine, name="quarantine"
    ),
    path(
        "sites/<int:site_id>/quarantine/replay/",
        site_quarantine.replay_some,
        name="replay",
    ),
    path(
        "sites/<int:site_id>/quarantine/<int:message_id>/mapping/",
        site_version.version,
        name="version",
    ),
    path("sites/<int:site_id>/commands/", site_commands.commands, name="commands"),
    path("sites/<int:site_id>/publish/", site_commands.publish, name="publish"),
    path("sites/<int:site_id>/start/", views.start, name="start"),
    path("sites/<int:site_id>/stop/", views.stop, name="stop"),
    path("sites/<int:site_id>/restart/", views.restart, name="restart"),
    path(
        "dataloggers/<int:datalogger_id>/", device_views.datalogger, name="datalogger"
    ),
    path("sensors/<int:sensor_id>/", device_views.sensor, name="sensor"),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("theme/", theme, name="theme"),
]
