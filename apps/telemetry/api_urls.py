from __future__ import annotations

from django.urls import URLPattern, path

from apps.telemetry import (
    api,
    changes_api,
    history_api,
    mappings_api,
    quarantine_api,
    topics_api,
)

urlpatterns: list[URLPattern] = [
    path("mqtt/sensors/<int:sensor_id>/readings/", api.SensorReadings.as_view()),
    path("mqtt/sensors/<int:sensor_id>/changes/", changes_api.SensorChanges.as_view()),
    path(
        "mqtt/dataloggers/<int:datalogger_id>/history/",
        history_api.DataloggerHistory.as_view(),
    ),
    path(
        "mqtt/dataloggers/<int:datalogger_id>/history/import/",
        history_api.HistoryImport.as_view(),
    ),
    path("mqtt/sites/<int:site_id>/mappings/", mappings_api.MappingList.as_view()),
    path(
        "mqtt/sites/<int:site_id>/mappings/preview/",
        mappings_api.MappingPreview.as_view(),
    ),
    path(
        "mqtt/sites/<int:site_id>/mappings/<int:mapping_id>/",
        mappings_api.MappingDetail.as_view(),
    ),
    path(
        "mqtt/sites/<int:site_id>/quarantine/", quarantine_api.QuarantineList.as_view()
    ),
    path(
        "mqtt/sites/<int:site_id>/quarantine/replay/",
        quarantine_api.QuarantineReplay.as_view(),
    ),
    path(
        "mqtt/sites/<int:site_id>/quarantine/<int:message_id>/",
        quarantine_api.QuarantineDetail.as_view(),
    ),
    path("mqtt/sites/<int:site_id>/topics/", topics_api.TopicList.as_view()),
    path(
        "mqtt/sites/<int:site_id>/topics/<int:topic_id>/",
        topics_api.TopicDetail.as_view(),
    ),
]
