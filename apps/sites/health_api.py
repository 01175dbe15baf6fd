"""Probes: no login, no session, an answer even when parts are away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.sites import pulse
from apps.sites.health import health, readiness, reconcile_age_s

if TYPE_CHECKING:
    from rest_framework.request import Request

LATE = "the reconcile is late: is beat running, and the default worker?"


class ServiceSerializer(serializers.Serializer[Any]):
    running = serializers.BooleanField(help_text="A worker holds a lease.")
    instance_id = serializers.CharField()


class ConnectionCountsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    enabled = serializers.IntegerField()
    healthy = serializers.IntegerField()
    unhealthy = serializers.IntegerField()


class HealthSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["healthy", "unhealthy"])
    service = ServiceSerializer()
    connections = ConnectionCountsSerializer()


class LiveSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["alive"])


class ChecksSerializer(serializers.Serializer[Any]):
    database = serializers.BooleanField()
    migrations = serializers.BooleanField()
    redis = serializers.BooleanField()


class ReadySerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["ready", "unready"])
    checks = ChecksSerializer()
    reconcile_age_seconds = serializers.FloatField(
        allow_null=True, help_text="Since the reconcile last ran; null: unknown."
    )
    warnings = serializers.ListField(
        child=serializers.CharField(),
        help_text="What is wrong elsewhere; this process can serve all the same.",
    )


class Probe(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)


class HealthView(Probe):
    @extend_schema(
        operation_id="health",
        summary="Is every enabled connection connected?",
        auth=[],
        responses={200: HealthSerializer, 503: HealthSerializer},
    )
    def get(self, request: Request) -> Response:
        now = health()
        body = {
            "status": "healthy" if now.is_healthy else "unhealthy",
            "service": {
                "running": now.is_running,
                "instance_id": settings.MQTT_INSTANCE_ID,
            },
            "connections": {
                "total": now.total,
                "enabled": now.enabled,
                "healthy": now.healthy,
                "unhealthy": now.enabled - now.healthy,
            },
        }
        return Response(body, status=200 if now.is_healthy else 503)


class LiveView(Probe):
    @extend_schema(
        operation_id="health_live",
        summary="Does the process answer?",
        auth=[],
        responses={200: LiveSerializer},
    )
    def get(self, request: Request) -> Response:
        return Response({"status": "alive"})


class ReadyView(Probe):
    @extend_schema(
        operation_id="health_ready",
        summary="Can the process serve requests now?",
        auth=[],
        responses={200: ReadySerializer, 503: ReadySerializer},
    )
    def get(self, request: Request) -> Response:
        checks = readiness()
        is_ready = all(checks.values())
        age = reconcile_age_s() if checks["redis"] else None
        is_late = checks["redis"] and pulse.is_late(age)
        body = {
            "status": "ready" if is_ready else "unready",
            "checks": checks,
            "reconcile_age_seconds": None if age is None else round(age, 1),
            "warnings": [LATE] if is_late else [],
        }
        return Response(body, status=200 if is_ready else 503)
