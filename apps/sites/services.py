"""Changes to sites and connections: the only code that writes the desired state."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.core.errors import NotConfiguredError
from apps.sites import commands
from apps.sites.models import (
    ConnectionEvent,
    ConnectionStats,
    MqttConnection,
    MqttTopic,
    Reason,
    Site,
    Status,
)
from apps.sites.patterns import DEFAULT_PATTERNS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TopicSetting:
    pattern: str
    qos: int = 1
    is_active: bool = True


def site_create(**fields: Any) -> Site:  # noqa: ANN401 (the model's own fields)
    """Store a site with its still unconfigured connection."""
    with transaction.atomic():
        site = Site.objects.create(**fields)
        connection_of(site)
    return site


def connection_of(site: Site) -> MqttConnection:
    """Return the site's connection, made with the default topics if there is none."""
    connection, is_new = MqttConnection.objects.get_or_create(site=site)
    if is_new:
        ConnectionStats.objects.create(connection=connection)
        MqttTopic.objects.bulk_create(
            MqttTopic(connection=connection, pattern=pattern)
            for pattern in DEFAULT_PATTERNS
        )
    return connection


def connection_start(site: Site) -> MqttConnection:
    """Want the site connected; a person's start also ends any waiting.

    Raises:
        NotConfiguredError: there is no broker host yet.
    """
    return _want(site, is_enabled=True)


def connection_stop(site: Site) -> MqttConnection:
    """Want the site disconnected."""
    return _want(site, is_enabled=False)


def connection_restart(site: Site) -> MqttConnection:
    """Want the site connected on a new link; a stopped one is started.

    Not a stop and a start: two commands could be lost or overtake each other, and a
    stop ends the session at the broker, with the messages that wait in it. The number
    is part of what the link is, so the owner parts from the one it has, says goodbye
    and connects anew; the reconcile brings it about if the command is lost.

    Raises:
        NotConfiguredError: there is no broker host yet.
    """
    with transaction.atomic():
        MqttConnection.objects.filter(pk=connection_of(site).pk).update(
            restarts=F("restarts") + 1
        )
        return _want(site, is_enabled=True)


def _want(site: Site, *, is_enabled: bool) -> MqttConnection:
    with transaction.atomic():
        connection = connection_of(site)
        if is_enabled and not connection.broker_host:
            raise NotConfiguredError(site.pk)
        bump_generation(connection)
        status = _status_while_waiting(connection, is_enabled=is_enabled)
        connection.is_enabled = is_enabled
        connection.away_since = None  # what was missed since is no surprise
        change_status(connection, status=status, also=["is_enabled", "away_since"])
        transaction.on_commit(lambda: apply_desired(site.pk, is_enabled=is_enabled))
    return connection


def _status_while_waiting(connection: MqttConnection, *, is_enabled: bool) -> Status:
    """Return the transitional badge; a stop of what is at rest needs none."""
    if is_enabled:
        return Status.CONNECTING
    at_rest = connection.status == Status.DISCONNECTED and not connection.is_enabled
    return Status.DISCONNECTED if at_rest else Status.DISABLED


def apply_desired(site_id: int, *, is_enabled: bool) -> None:
    """Tell the owner now, so that nobody waits for the next reconcile."""
    if is_enabled:
        commands.send_ensure(site_id)
    else:
        commands.send_drop(site_id)


def bump_generation(connection: MqttConnection) -> None:
    """Make every report about the old settings void.

    This holds the row until the transaction ends, and reads it anew: a report that
    was being recorded meanwhile is in it.
    """
    MqttConnection.objects.filter(pk=connection.pk).update(
        generation=F("generation") + 1
    )
    connection.refresh_from_db()


def connection_configure(
    connection: MqttConnection,
    *,
    fields: Mapping[str, Any],
    password: str | None = None,
    tls_client_key: str | None = None,
    topics: Sequence[TopicSetting] | None = None,
) -> MqttConnection:
    """Store new settings; a running connection follows them at once.

    Other topics alone are changed on the link that is there; it stays connected.

    Args:
        connection: the row to change.
        fields: model fields by name, already validated.
        password: None keeps the stored one, "" removes it; so for the key.
        tls_client_key: the client's private key (PEM).
        topics: all filters from now on; None keeps them as they are.
    """
    has_secrets = password is not None or tls_client_key is not None
    is_same = all(getattr(connection, name) == new for name, new in fields.items())
    with transaction.atomic():
        for name, value in fields.items():
            setattr(connection, name, value)
        if password is not None:
            connection.set_password(password)
        if tls_client_key is not None:
            connection.set_tls_client_key(tls_client_key)
        if connection.is_enabled and not connection.broker_host:
            raise NotConfiguredError(connection.site_id)
        connection.save(
            update_fields=[
                *fields,
                "password_encrypted",
                "tls_client_key_encrypted",
                "updated_at",
            ]
        )
        if topics is not None:
            _replace_topics(connection, topics)
        connection_changed(connection, is_same_link=is_same and not has_secrets)
    return connection


def _replace_topics(connection: MqttConnection, topics: Sequence[TopicSetting]) -> None:
    keep = {topic.pattern for topic in topics}
    connection.topics.exclude(pattern__in=keep).delete()
    MqttTopic.objects.bulk_create(
        [
            MqttTopic(
                connection=connection,
                pattern=topic.pattern,
                qos=topic.qos,
                is_active=topic.is_active,
            )
            for topic in topics
        ],
        update_conflicts=True,
        unique_fields=["connection", "pattern"],
        update_fields=["qos", "is_active"],
    )


def connection_changed(
    connection: MqttConnection, *, is_same_link: bool = False
) -> None:
    """After any change of settings: void old reports, have the connection follow.

    `is_same_link`: nothing but topics or the time zone changed. The owner then keeps
    the link; calling it `connecting` would make its devices unknown for no reason.
    """
    bump_generation(connection)
    if not connection.is_enabled:
        return
    if not (is_same_link and connection.status == Status.CONNECTED):
        change_status(connection, status=Status.CONNECTING)
    site_id = connection.site_id
    transaction.on_commit(lambda: apply_desired(site_id, is_enabled=True))


def site_update(site: Site, *, fields: Mapping[str, Any]) -> Site:
    """Store changed fields; the connection follows what its messages depend on.

    A new code moves all topics; the time zone is that of times without one.
    """
    with transaction.atomic():
        before = Site.objects.select_for_update().get(pk=site.pk)
        for name, value in fields.items():
            setattr(site, name, value)
        site.save()
        if (site.code, site.timezone) != (before.code, before.timezone):
            connection_changed(
                connection_of(site), is_same_link=site.code == before.code
            )
    return site


def site_delete(site: Site) -> None:
    """Remove a site with its devices; the owner lets go of the broker."""
    site_id = site.pk
    with transaction.atomic():
        # Batches hold this row while they write: no device may appear between
        # Django's look at what hangs on the site and the commit.
        list(MqttConnection.objects.select_for_update().filter(site_id=site_id))
        site.delete()
        transaction.on_commit(lambda: apply_desired(site_id, is_enabled=False))


def change_status(
    connection: MqttConnection,
    *,
    status: Status,
    reason: Reason = Reason.NONE,
    detail: str = "",
    also: Sequence[str] = (),
) -> None:
    """The single door to a status: the row, its event, and the signal that broadcasts.

    Call it inside a transaction. `also` names further changed fields to save. Whether
    we hear decides what can be known about devices: when that changes they are looked
    at.
    """
    old_status, old_reason = connection.status, connection.reason
    connection.status, connection.reason = status, reason
    connection.error_message = detail
    if old_status == status and old_reason == reason:
        connection.save(update_fields=["error_message", *also, "updated_at"])
        return
    connection.status_changed_at = timezone.now()
    connection.save(
        update_fields=[
            "status",
            "reason",
            "error_message",
            "status_changed_at",
            *also,
            "updated_at",
        ]
    )
    ConnectionEvent.objects.create(
        connection=connection,
        old_status=old_status,
        new_status=status,
        reason=reason,
        detail=detail,
    )
    if (old_status == Status.CONNECTED) != (status == Status.CONNECTED):
        site_id = connection.site_id
        transaction.on_commit(lambda: commands.send_presence_check(site_id))
    log.info(
        "status connection_id=%d site_id=%d %s->%s reason=%s",
        connection.pk,
        connection.site_id,
        old_status,
        status,
        reason or "-",
    )
