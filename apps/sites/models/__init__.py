"""Sites, their broker connections, and who owns which shard of them."""

from apps.sites.models.accounting import (
    ConnectionStats,
    Delivered,
    GapCause,
    SuspectedGap,
)
from apps.sites.models.command import Command, CommandReason, CommandState
from apps.sites.models.connection import (
    ConnectionEvent,
    MqttConnection,
    MqttTopic,
    Protocol,
    Reason,
    Status,
    validate_pattern,
)
from apps.sites.models.lease import ShardLease
from apps.sites.models.site import (
    MemberRole,
    Site,
    SiteMember,
    SiteQuerySet,
    Visibility,
    validate_code,
    validate_timezone,
)

__all__ = [
    "Command",
    "CommandReason",
    "CommandState",
    "ConnectionEvent",
    "ConnectionStats",
    "Delivered",
    "GapCause",
    "MemberRole",
    "MqttConnection",
    "MqttTopic",
    "Protocol",
    "Reason",
    "ShardLease",
    "Site",
    "SiteMember",
    "SiteQuerySet",
    "Status",
    "SuspectedGap",
    "Visibility",
    "validate_code",
    "validate_pattern",
    "validate_timezone",
]
