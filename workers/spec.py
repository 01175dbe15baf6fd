"""What a connection needs to know: the database row, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings

from apps.core.crypto import SecretUnreadableError
from apps.core.shards import shard_of
from apps.sites import trials
from apps.sites.models import MqttConnection, MqttTopic
from apps.sites.patterns import DEFAULT_PATTERNS
from apps.sites.services import TopicSetting

# QoS 2 is not crash-safe in paho: PUBREC goes out before we see the message.
MAX_QOS = 1

SessionIdentity = tuple[str, int, str]  # host, port, client id


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts; an empty one means the system's CAs, or no client certificate."""

    ca: str
    client_cert: str
    client_key: str = field(repr=False)
    server_name: str


@dataclass(frozen=True, slots=True)
class ConnectionSpec:
    """One site's connection as it shall be, at one generation."""

    connection_id: int
    site_id: int
    shard: int
    generation: int
    code: str
    zone: ZoneInfo
    host: str
    port: int
    client_id: str
    username: str
    password: str = field(repr=False)
    protocol: str
    keepalive_s: int
    clean_session: bool
    has_will: bool
    tls: Tls | None
    filters: tuple[tuple[str, int], ...]  # full topic filter, QoS
    unwanted: tuple[str, ...]  # filters that an old session may still hold
    problem: str = ""  # why the settings cannot be used
    restarts: int = 0  # a person's wish for a new link with the same settings

    @property
    def status_topic(self) -> str:
        return f"{self.code}/backend/status"

    @property
    def session_identity(self) -> SessionIdentity:
        """What a broker keeps a session under."""
        return (self.host, self.port, self.client_id)

    def is_same_link(self, other: ConnectionSpec) -> bool:
        """Whether the two differ in nothing that needs a new connection.

        Filters do not: they are changed in place.
        """
        same = replace(
            self,
            generation=other.generation,
            zone=other.zone,
            filters=other.filters,
            unwanted=other.unwanted,
        )
        return same == other

    def visiting(self, suffix: str = "", **but: Any) -> ConnectionSpec:  # noqa: ANN401
        """Return a visit beside, or instead of, our session: clean, without a will.

        Args:
            suffix: appended to the client id; empty takes the session's own place.
            but: fields of the spec that differ as well.
        """
        client_id = f"{self.client_id}{suffix}"
        visit = replace(self, client_id=client_id, clean_session=True, has_will=False)
        return replace(visit, **but)


def load_spec(site_id: int) -> tuple[ConnectionSpec, bool] | None:
    """Return a site's spec and whether it shall be connected; None if it is gone."""
    row = (
        MqttConnection.objects.select_related("site")
        .prefetch_related("topics")
        .filter(site_id=site_id)
        .first()
    )
    return (spec_of(row), row.is_enabled) if row else None


def load_enabled(shards: set[int]) -> list[ConnectionSpec]:
    """Return the specs of all enabled connections of these shards."""
    rows = (
        MqttConnection.objects.select_related("site")
        .prefetch_related("topics")
        .filter(is_enabled=True)
    )
    return [
        spec_of(row)
        for row in rows
        if shard_of(row.site_id, settings.MQTT_SHARDS) in shards
    ]


def load_tried_spec(given: trials.Given) -> ConnectionSpec | None:
    """Return a site's spec with the settings that a test was asked to try."""
    rows = MqttConnection.objects.select_related("site")
    row = rows.filter(site_id=given.site_id).first()
    if row is None:
        return None
    topics = trials.apply(row, given)
    return spec_of(row, topics)


def spec_of(
    row: MqttConnection, topics: Sequence[TopicSetting] | None = None
) -> ConnectionSpec:
    """Return the row as a spec; what cannot be read becomes its `problem`.

    Args:
        row: with its site.
        topics: instead of the row's own.
    """
    patterns: list[TopicSetting | MqttTopic]
    patterns = list(row.topics.all() if topics is None else topics)
    site, problem, password, tls = row.site, "", "", None
    try:
        password = row.read_password()
        if row.use_tls:
            tls = Tls(
                ca=row.tls_ca,
                client_cert=row.tls_client_cert,
                client_key=row.read_tls_client_key(),
                server_name=row.tls_server_name,
            )
    except SecretUnreadableError as error:
        problem = str(error)
    if not row.broker_host:
        problem = "No broker host is set"
    zone = _zone(site.timezone)
    if zone is None:
        problem = f"The time zone '{site.timezone}' is not known here"
    filters = tuple(
        (f"{site.code}/{topic.pattern}", min(topic.qos, MAX_QOS))
        for topic in patterns
        if topic.is_active
    )
    wanted = {name for name, _ in filters}
    known = [
        *DEFAULT_PATTERNS,
        *(topic.pattern for topic in patterns if not topic.is_active),
    ]
    held = [*(f"{site.code}/{pattern}" for pattern in known), *row.subscribed_topics]
    return ConnectionSpec(
        connection_id=row.pk,
        site_id=site.pk,
        shard=shard_of(site.pk, settings.MQTT_SHARDS),
        generation=row.generation,
        code=site.code,
        zone=zone or ZoneInfo("UTC"),
        host=row.broker_host,
        port=row.broker_port,
        client_id=client_id(row.client_id_prefix, site.pk),
        username=row.username,
        password=password,
        protocol=row.protocol,
        keepalive_s=row.keepalive or settings.MQTT_KEEP_ALIVE,
        clean_session=(
            settings.MQTT_CLEAN_SESSION
            if row.clean_session is None
            else row.clean_session
        ),
        has_will=settings.MQTT_LWT_ENABLED,
        tls=tls,
        filters=filters,
        unwanted=tuple(name for name in dict.fromkeys(held) if name not in wanted),
        problem=problem,
        restarts=row.restarts,
    )


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder's name
        return None


def client_id(prefix: str, site_id: int) -> str:
    """Return the fixed client id, so that the broker itself allows only one of us."""
    return f"{prefix or f'site_{site_id}'}_{settings.MQTT_INSTANCE_ID}"
