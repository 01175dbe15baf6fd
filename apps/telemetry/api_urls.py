from __future__ import annotations

from django.urls import URLPattern, path

from apps.telemetry import api

urlpatterns: list[URLPattern] = [
    path("mqtt/sensors/<int:sensor_id>/readings/", api.SensorReadings.as_view()),
]
