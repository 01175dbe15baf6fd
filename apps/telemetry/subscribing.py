"""Makes a site's connection listen to a topic that has a mapping."""

from __future__ import annotations

from django.utils.translation import gettext as _

from apps.sites import services
from apps.sites.models import MqttTopic, Site
from apps.sites.patterns import covers, problem_with_pattern
from apps.telemetry.mapping_values import refuse

MAX_PATTERN_CHARS = 256
MAX_PATTERNS = 200  # of a connection: one SUBSCRIBE carries them all


def subscribe_to(site: Site, topic: str) -> bool:
    """Add a filter for this topic unless one covers it; return whether it was added.

    Call it in a transaction. A running connection follows within two seconds.

    Raises:
        MappingInvalidError: the topic cannot be a filter, or there are too many.
    """
    relative = topic.removeprefix(f"{site.code}/")
    connection = services.connection_of(site)
    patterns = list(connection.topics.all())
    if any(
        row.is_active and covers(f"{site.code}/{row.pattern}", topic)
        for row in patterns
    ):
        return False
    if problem_with_pattern(relative) or len(relative) > MAX_PATTERN_CHARS:
        refuse(
            "topic",
            _("No filter of the connection covers this topic, and it cannot be one"),
        )
    is_known = any(row.pattern == relative for row in patterns)
    if not is_known and len(patterns) >= MAX_PATTERNS:
        refuse(
            "topic",
            _(
                "The connection has %d filters already: first put one with '+' or '#' "
                "in the place of some"
            )
            % MAX_PATTERNS,
        )
    MqttTopic.objects.update_or_create(
        connection=connection, pattern=relative, defaults={"is_active": True}
    )
    services.connection_changed(connection, is_same_link=True)
    return True
