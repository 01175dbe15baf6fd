"""What people decide about discovered topics: accept with a mapping, ignore, forget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.core import events
from apps.devices.discovery import news_of
from apps.devices.models import DiscoveredTopic, TopicState
from apps.sites import services
from apps.sites.models import Site
from apps.telemetry import mappings
from apps.telemetry.mapping_values import refuse
from apps.telemetry.models import TopicMapping


def topic_decide(
    topic: DiscoveredTopic,
    *,
    state: str | None = None,
    mapping: Mapping[str, Any] | None = None,
) -> DiscoveredTopic:
    """Change what becomes of a topic's messages.

    Args:
        topic: the row to change.
        state: a TopicState; None leaves it. Only an accepted topic has a mapping, and
            the filter that accepting it may have added.
        mapping: keyword arguments of `mapping_create` but for the topic; replaces one
            that is there.

    Raises:
        MappingInvalidError: names the field and the problem.
        DiscoveredTopic.DoesNotExist: it has had to make room.
    """
    with transaction.atomic():
        row = _held(topic)
        wanted = state or row.state
        if wanted == TopicState.ACCEPTED:
            _accept(row, mapping)
        elif mapping is not None:
            refuse("mapping", _("Only an accepted topic has a mapping"))
        elif wanted != row.state:
            _take_back(row)
        row.state = wanted
        # Last: a batch that holds this row has its devices already.
        still = DiscoveredTopic.objects.filter(pk=row.pk)
        if not still.update(state=row.state, has_own_filter=row.has_own_filter):
            raise DiscoveredTopic.DoesNotExist
        transaction.on_commit(lambda: _announce(row))
    return row


def topic_forget(topic: DiscoveredTopic) -> None:
    """Remove a topic, with its mapping; it comes back when it is seen again."""
    with transaction.atomic():
        row = _held(topic)
        _take_back(row)
        row.delete()


def _held(topic: DiscoveredTopic) -> DiscoveredTopic:
    """Return the row as it is now; nobody else decides about the site's topics.

    The row itself stays free: batches count it on, and never change its state.
    """
    Site.objects.select_for_update(no_key=True).get(pk=topic.site_id)
    return DiscoveredTopic.objects.select_related("site").get(pk=topic.pk)


def _accept(row: DiscoveredTopic, mapping: Mapping[str, Any] | None) -> None:
    if not row.topic.startswith(f"{row.site.code}/"):
        refuse(
            "state",
            _(
                "The topic is outside of the site: only topics that begin with '%s/' "
                "can be accepted"
            )
            % row.site.code,
        )
    known = mappings.mapping_of(row)
    if known is None and mapping is None:
        refuse("mapping", _("Say how its payload becomes readings"))
    before = set(_patterns(row))
    if known is None:
        mappings.mapping_create(row.site, topic=row.topic, **dict(mapping or {}))
    elif mapping is not None or not known.is_active:
        fields = {"datalogger_type": "", "datalogger_number": "", "ts_path": ""}
        changed = {**fields, **mapping} if mapping is not None else {}
        mappings.mapping_update(known, fields={**changed, "is_active": True})
    if set(_patterns(row)) - before:
        row.has_own_filter = True


def _take_back(row: DiscoveredTopic) -> None:
    """Remove the mapping, and the filter that accepting had added."""
    known: TopicMapping | None = mappings.mapping_of(row)
    if known is not None:
        mappings.mapping_delete(known)
    if row.has_own_filter:
        connection = services.connection_of(row.site)
        relative = row.topic.removeprefix(f"{row.site.code}/")
        if connection.topics.filter(pattern=relative).delete()[0]:
            services.connection_changed(connection, is_same_link=True)
        row.has_own_filter = False


def _patterns(row: DiscoveredTopic) -> list[str]:
    topics = services.connection_of(row.site).topics
    return list(topics.values_list("pattern", flat=True))


def _announce(row: DiscoveredTopic) -> None:
    for site_id, topics in news_of([row.pk]).items():
        events.emit([events.site_channel(site_id)], "discovery", {"topics": topics})
