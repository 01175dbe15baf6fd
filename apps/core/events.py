"""The only door to Server-Sent Events: channel names, and `emit`.

Events are hints; the API is the truth. A page that missed one refetches.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django_eventstream import send_event

from apps.core.redis import RedisError

log = logging.getLogger(__name__)

# A user's status stream listens to STATUS_FOR_ALL and the user's own channel;
# a superuser's also to STATUS_FOR_SUPERUSERS. So a members-only site reaches
# nobody else, and no stream needs more than three channels.
STATUS_FOR_ALL = "status"
STATUS_FOR_SUPERUSERS = "status-superusers"

_LOG_EVERY_S = 10.0
_lock = threading.Lock()
_logged_at = float("-inf")


def site_channel(site_id: int) -> str:
    return f"site-{site_id}"


def messages_channel(site_id: int) -> str:
    """Return where a site's messages are shown while somebody watches them."""
    return f"site-{site_id}-messages"


def user_channel(user_id: int) -> str:
    return f"status-user-{user_id}"


def emit(channels: Iterable[str], event: str, data: Mapping[str, Any]) -> bool:
    """Publish one event to each channel; False when Redis is away. Never raises.

    Blocks up to about three seconds while Redis is away: never call it inside a
    transaction or on the network thread.
    """
    try:
        # NaN is no JSON: a browser could not read the event.
        body = json.dumps(dict(data), cls=DjangoJSONEncoder, allow_nan=False)
    except (TypeError, ValueError):
        log.exception("an event cannot be written as JSON event=%s", event)
        return False
    try:
        for channel in channels:
            send_event(channel, event, body, json_encode=False)
    except RedisError as error:
        _log_rarely(event, error)
        return False
    return True


def _log_rarely(event: str, error: Exception) -> None:
    global _logged_at
    now = time.monotonic()
    with _lock:
        if now - _logged_at < _LOG_EVERY_S:
            return
        _logged_at = now
    log.warning("event not sent event=%s: %s", event, type(error).__name__)
