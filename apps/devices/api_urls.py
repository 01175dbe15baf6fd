from __future__ import annotations

from django.urls import URLPattern, path

from apps.devices import api, discovery_api, presence_api

urlpatterns: list[URLPattern] = [
    path("mqtt/sites/<int:site_id>/discover/", discovery_api.Discover.as_view()),
    path("mqtt/gateways/", api.GatewayList.as_view()),
    path("mqtt/gateways/<int:gateway_id>/", api.GatewayDetail.as_view()),
    path("mqtt/dataloggers/", api.DataloggerList.as_view()),
    path("mqtt/dataloggers/<int:datalogger_id>/", api.DataloggerDetail.as_view()),
    path(
        "mqtt/dataloggers/<int:datalogger_id>/uptime/", api.DataloggerUptime.as_view()
    ),
    path(
        "mqtt/dataloggers/<int:datalogger_id>/presence/",
        presence_api.DataloggerPresence.as_view(),
    ),
    path("mqtt/sensors/<int:sensor_id>/", api.SensorDetail.as_view()),
    # The documents call it without the slash.
    path("mqtt/sensors/by_datalogger", api.SensorsByDatalogger.as_view(schema=None)),
    path("mqtt/sensors/by_datalogger/", api.SensorsByDatalogger.as_view()),
]
