"""Discovery sessions as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.core.parsing import UtcTimeField
from apps.devices.discovery_sessions import DEFAULT_S, MAX_FILTERS, MAX_S
from apps.devices.models import SessionState
from apps.sites.patterns import MAX_FILTER_BYTES, problem_with_filter


def _check_filter(name: str) -> None:
    problem = problem_with_filter(name)
    if problem:
        raise serializers.ValidationError(str(problem))


class DiscoverRequest(serializers.Serializer[Any]):
    """How long to listen, and to what beside the site's own tree."""

    duration_s = serializers.IntegerField(
        default=DEFAULT_S, min_value=1, max_value=MAX_S
    )
    filters = serializers.ListField(
        child=serializers.CharField(
            max_length=MAX_FILTER_BYTES,
            trim_whitespace=False,
            validators=[_check_filter],
        ),
        default=list,
        max_length=MAX_FILTERS,
        help_text="Whole MQTT filters, not relative to the site's code.",
    )


class SessionSerializer(serializers.Serializer[Any]):
    """A bounded while of listening to everything under a site's code."""

    id = serializers.IntegerField()
    site_id = serializers.IntegerField()
    state = serializers.ChoiceField(SessionState.choices)
    username = serializers.CharField(help_text="Who began it.")
    duration_s = serializers.IntegerField()
    filters = serializers.ListField(child=serializers.CharField())
    created_at = UtcTimeField()
    started_at = UtcTimeField(
        allow_null=True, help_text="From the broker's answer to our subscription on."
    )
    ends_at = UtcTimeField(help_text="When it ends, if nothing ends it before.")
    ended_at = UtcTimeField(allow_null=True)
    seconds_left = serializers.FloatField()
    messages = serializers.IntegerField(help_text="All that came, devices' included.")
    topics = serializers.IntegerField(
        help_text="Different topics that no decoder claims."
    )
    detail = serializers.CharField(
        allow_blank=True, help_text="Why it failed, or ended early."
    )
