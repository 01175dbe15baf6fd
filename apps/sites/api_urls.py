from __future__ import annotations

from django.urls import URLPattern, path

from apps.sites import api, publish_api, tail_api, trial_api
from apps.sites.health_api import HealthView, LiveView, ReadyView

urlpatterns: list[URLPattern] = [
    path("sites/", api.SiteList.as_view()),
    path("sites/<int:site_id>/", api.SiteDetail.as_view()),
    path("mqtt/health/", HealthView.as_view()),
    path("mqtt/health/live/", LiveView.as_view()),
    path("mqtt/health/ready/", ReadyView.as_view()),
    path("mqtt/connections/", api.ConnectionList.as_view()),
    path(
        "mqtt/connections/<int:connection_id>/enable/", api.EnableConnection.as_view()
    ),
    path(
        "mqtt/connections/<int:connection_id>/disable/", api.DisableConnection.as_view()
    ),
    path("mqtt/sites/<int:site_id>/connection/", api.ConnectionSettings.as_view()),
    path("mqtt/sites/<int:site_id>/start/", api.StartSite.as_view()),
    path("mqtt/sites/<int:site_id>/stop/", api.StopSite.as_view()),
    path("mqtt/sites/<int:site_id>/restart/", api.RestartSite.as_view()),
    path("mqtt/sites/<int:site_id>/test/", trial_api.TestConnection.as_view()),
    path("mqtt/sites/<int:site_id>/resubscribe/", trial_api.Resubscribe.as_view()),
    path("mqtt/sites/<int:site_id>/status/", api.SiteStatus.as_view()),
    path("mqtt/sites/<int:site_id>/events/", api.SiteEvents.as_view()),
    path("mqtt/sites/<int:site_id>/gaps/", api.SiteGaps.as_view()),
    path("mqtt/sites/<int:site_id>/messages/watch/", tail_api.Watch.as_view()),
    path("mqtt/sites/<int:site_id>/publish/", publish_api.Publish.as_view()),
    path("mqtt/sites/<int:site_id>/commands/", publish_api.CommandList.as_view()),
    path(
        "mqtt/sites/<int:site_id>/commands/<int:command_id>/",
        publish_api.CommandDetail.as_view(),
    ),
]
