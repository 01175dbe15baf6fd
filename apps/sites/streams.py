"""Live updates: the status of every site, and everything that happens at one site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.core import events
from apps.core.stream_views import stream_view
from apps.sites.models import Site

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def status_stream_channels(user: User) -> frozenset[str]:
    channels = {events.STATUS_FOR_ALL, events.user_channel(user.pk)}
    if user.is_superuser:
        channels.add(events.STATUS_FOR_SUPERUSERS)
    return frozenset(channels)


def site_stream_channels(user: User, site_id: int) -> frozenset[str] | None:
    if not Site.objects.visible_to(user).filter(pk=site_id).exists():
        return None
    return frozenset({events.site_channel(site_id)})


def messages_stream_channels(user: User, site_id: int) -> frozenset[str] | None:
    """Return where a site's messages come, for as long as somebody asks for them."""
    if not Site.objects.visible_to(user).filter(pk=site_id).exists():
        return None
    return frozenset({events.messages_channel(site_id)})


status = stream_view(status_stream_channels)
site = stream_view(site_stream_channels)
messages = stream_view(messages_stream_channels)
