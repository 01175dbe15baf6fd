from __future__ import annotations

from django.urls import URLPattern, path

from apps.devices import api

urlpatterns: list[URLPattern] = [
    path("mqtt/gateways/", api.GatewayList.as_view()),
    path("mqtt/dataloggers/", api.DataloggerList.as_view()),
    path("mqtt/dataloggers/<int:datalogger_id>/", api.DataloggerDetail.as_view()),
    # The documents call it without the slash.
    path("mqtt/sensors/by_datalogger", api.SensorsByDatalogger.as_view(schema=None)),
    path("mqtt/sensors/by_datalogger/", api.SensorsByDatalogger.as_view()),
]
