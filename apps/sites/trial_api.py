"""Connection care over HTTP: test a connection, subscribe to everything once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.parsing import UtcTimeField
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors
from apps.sites import care, services, trials
from apps.sites.selectors import may_control, visible_site
from apps.sites.serializers import ConnectionSerializer, ControlSerializer

if TYPE_CHECKING:
    from rest_framework.request import Request


class CertificateSerializer(serializers.Serializer[Any]):
    subject = serializers.CharField()
    issuer = serializers.CharField()
    not_after = UtcTimeField()
    days_left = serializers.IntegerField(help_text="Negative: expired.")


class ReasonSerializer(serializers.Serializer[Any]):
    code = serializers.IntegerField(help_text="MQTT 5's, also for 3.1.1; 0: accepted.")
    words = serializers.CharField()


class FilterResultSerializer(serializers.Serializer[Any]):
    filter = serializers.CharField()
    ok = serializers.BooleanField()


class StepSerializer(serializers.Serializer[Any]):
    """One step; fields beside the first five are there when it has found them out."""

    name = serializers.ChoiceField(
        ["dns", "tcp", "tls", "connack", "suback", "round_trip"]
    )
    ok = serializers.BooleanField(
        allow_null=True, help_text="null: skipped, after a step that failed or no TLS."
    )
    ms = serializers.FloatField()
    problem = serializers.CharField(
        allow_blank=True, help_text="What went wrong, for programs."
    )
    detail = serializers.CharField(
        allow_blank=True, help_text="What was found, or what to do; for people."
    )
    addresses = serializers.ListField(child=serializers.CharField(), required=False)
    address = serializers.CharField(required=False)
    version = serializers.CharField(required=False, help_text="Of TLS.")
    certificate = CertificateSerializer(required=False, allow_null=True)
    reason = ReasonSerializer(required=False)
    filters = FilterResultSerializer(many=True, required=False)
    topic = serializers.CharField(required=False)
    said = serializers.CharField(
        required=False, allow_blank=True, help_text="The other side's own words."
    )


class TrialSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField(
        help_text="Every step but the round trip, which a broker may forbid, succeeded."
    )
    steps = StepSerializer(many=True)


class TestConnection(APIView):
    @extend_schema(
        operation_id="connection_test",
        summary="Try a connection step by step",
        description=(
            "By the site's worker, beside the running connection and under another "
            "client id. The body may hold settings to try before they are saved; what "
            "is left out is as it is stored. The stored password goes to no other "
            "host, port or user name, and not without TLS."
        ),
        request=ConnectionSerializer(partial=True),
        responses={
            200: TrialSerializer,
            **errors(400, 401, 403, 404, 413, 503, 504),
        },
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        connection = services.connection_of(site)
        form = ConnectionSerializer(connection, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        return Response(trials.run(connection, given_by(site.pk, form.validated_data)))


def given_by(site_id: int, attrs: dict[str, Any]) -> trials.Given:
    """Return validated settings as what a test takes."""
    fields = dict(attrs)
    apart = ("password", "tls_client_key", "topics")
    special = {name: fields.pop(name, None) for name in apart}
    return trials.Given(site_id, fields, **special)


class Resubscribe(APIView):
    @extend_schema(
        operation_id="connection_resubscribe",
        summary="Subscribe to all topics once more",
        description="Brings the retained messages again.",
        request=None,
        responses={200: ControlSerializer, **errors(401, 403, 404, 409, 503)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(may_control(request.user, site))
        care.resubscribe(request.user, site)
        message = f"Site {site.pk} is subscribing to all its topics again."
        return Response({"success": True, "message": message})
