"""The one signal of the source documents: a saved status is broadcast."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from apps.sites.broadcast import broadcast_status_update
from apps.sites.models import MqttConnection


@receiver(post_save, sender=MqttConnection)
def mqtt_connection_post_save(
    instance: MqttConnection,
    update_fields: Collection[str] | None,
    **_: Any,  # noqa: ANN401 (a signal's own arguments)
) -> None:
    """Broadcast only when `status` itself was saved: an edit of settings is no news."""
    if update_fields and "status" in update_fields:
        # After the commit: a page that refetches must not read the old row, and Redis
        # may take seconds to refuse.
        transaction.on_commit(lambda: broadcast_status_update(instance))
