"""Tells browsers that a connection's status changed."""

from __future__ import annotations

from apps.core import events
from apps.sites.models import MqttConnection, Site, Visibility


def status_channels(site: Site) -> list[str]:
    """Return the channels of everyone who may see this site's status."""
    own = events.site_channel(site.pk)
    if site.visibility == Visibility.ALL_USERS:
        return [own, events.STATUS_FOR_ALL]
    # A superuser who is also a member would hear it twice.
    members = site.members.exclude(user__is_superuser=True)
    return [
        own,
        events.STATUS_FOR_SUPERUSERS,
        *(
            events.user_channel(user_id)
            for user_id in members.values_list("user_id", flat=True)
        ),
    ]


def broadcast_status_update(connection: MqttConnection) -> bool:
    """Emit `status`; False when Redis is away (pages refetch when it is back)."""
    return events.emit(
        status_channels(connection.site),
        "status",
        {
            "site_id": connection.site_id,
            "status": connection.status,
            "is_enabled": connection.is_enabled,
            "reason": connection.reason,
        },
    )
