"""Changes to mappings. The workers read a change within two seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.devices import identities
from apps.devices.discovery import topic_digest
from apps.devices.identities import DeviceIds, DeviceKey
from apps.devices.models import DiscoveredTopic, SensorDevice
from apps.sites.models import Site
from apps.telemetry.facts import Bad, DeviceRef, Samples
from apps.telemetry.mapping_values import (
    MAX_TOPIC_BYTES,
    clean_level,
    clean_path,
    clean_values,
    is_storable,
    refuse,
)
from apps.telemetry.models import TopicMapping
from apps.telemetry.protocols import mapped
from apps.telemetry.protocols.decode import DECODERS, NATIVE, datalogger_of
from apps.telemetry.protocols.errors import PayloadError
from apps.telemetry.protocols.payloads import json_or_scalar, strict_json
from apps.telemetry.rules import compiled, zone_of
from apps.telemetry.subscribing import subscribe_to

MAX_MAPPINGS = 1_000  # a site; every worker holds them all
MAX_VERSION = 2**31 - 1

FIELDS = (
    "topic",
    "version",
    "datalogger_type",
    "datalogger_number",
    "ts_path",
    "values",
    "is_active",
)


def mapping_create(
    site: Site,
    *,
    topic: str = "",
    version: int | None = None,
    datalogger_type: str = "",
    datalogger_number: str = "",
    ts_path: str = "",
    values: Sequence[Mapping[str, Any]],
    is_active: bool = True,
) -> TopicMapping:
    """Store a mapping, make its datalogger and sensors, and listen to its topic.

    Args:
        site: whose messages it reads.
        topic: the whole topic, from the site's code on; or
        version: of native data messages whose version has no decoder.
        datalogger_type: whose readings they are. Empty, with the number: the topic
            itself names the datalogger.
        datalogger_number: see there.
        ts_path: where the time lies; empty: the time of receipt.
        values: of each `path` and `key`, and perhaps `label`, `type`, `unit`, `scale`,
            `offset`.
        is_active: False keeps it without using it.

    Raises:
        MappingInvalidError: names the field and the problem.
    """
    row = TopicMapping(
        site=site,
        topic=topic,
        version=version,
        datalogger_type=datalogger_type,
        datalogger_number=datalogger_number,
        ts_path=ts_path,
        values=values,
        is_active=is_active,
    )
    return _store(row, before={})


def mapping_update(row: TopicMapping, *, fields: Mapping[str, Any]) -> TopicMapping:
    """Store changed fields (those of `FIELDS`).

    Raises:
        MappingInvalidError: names the field and the problem.
    """
    before = {value["key"]: _told(value) for value in row.values}
    for name in FIELDS:
        if name in fields:
            setattr(row, name, fields[name])
    return _store(row, before=before)


def mapping_delete(row: TopicMapping) -> None:
    """Remove a mapping; what it made, readings included, stays."""
    row.delete()


def mapping_of(topic: DiscoveredTopic) -> TopicMapping | None:
    """Return the mapping of a discovered topic."""
    return TopicMapping.objects.filter(
        site_id=topic.site_id, digest=topic_digest(topic.topic)
    ).first()


def clean(row: TopicMapping) -> TopicMapping:
    """Check a mapping that is not stored yet, and complete it.

    Raises:
        MappingInvalidError: names the field and the problem.
    """
    if bool(row.topic) == (row.version is not None):
        refuse("topic", _("A mapping is for a topic or for a version"))
    if row.version is not None:
        _check_version(row)
    row.values = clean_values(row.values)
    row.ts_path = clean_path("ts_path", row.ts_path) if row.ts_path else ""
    clean_level("datalogger.type", row.datalogger_type)
    clean_level("datalogger.number", row.datalogger_number)
    if bool(row.datalogger_type) != bool(row.datalogger_number):
        field = "datalogger.number" if row.datalogger_type else "datalogger.type"
        refuse(field, _("Both the type and the number, or neither"))
    if row.topic:
        _check_topic(row)
    row.digest = topic_digest(row.topic) if row.topic else None
    return row


def is_taken(row: TopicMapping) -> bool:
    """Return whether another mapping is for the same messages."""
    others = TopicMapping.objects.filter(site_id=row.site_id).exclude(pk=row.pk)
    if row.version is not None:
        return others.filter(version=row.version).exists()
    return others.filter(digest=row.digest).exists()


def _check_version(row: TopicMapping) -> None:
    version = row.version or 0
    if not 0 <= version <= MAX_VERSION:
        refuse("version", _("A version is a number from 0 to %d") % MAX_VERSION)
    if (NATIVE, version) in DECODERS:
        refuse("version", _("Version %d is understood without a mapping") % version)
    if row.datalogger_type or row.datalogger_number:
        refuse("datalogger.type", _("The topic of such messages names the datalogger"))


def _check_topic(row: TopicMapping) -> None:
    if not is_storable(row.topic) or len(row.topic.encode()) > MAX_TOPIC_BYTES:
        refuse("topic", _("A topic has at most %d bytes and no NUL") % MAX_TOPIC_BYTES)
    if "+" in row.topic or "#" in row.topic:
        refuse("topic", _("A mapping is for one topic, without '+' and '#'"))
    if not row.topic.startswith(f"{row.site.code}/"):
        refuse("topic", _("The topic has to begin with '%s/'") % row.site.code)
    if not row.datalogger_type and _named_device(row) is None:
        refuse(
            "datalogger.type",
            _("This topic names no datalogger: say whose readings they are"),
        )


def _named_device(row: TopicMapping) -> DeviceRef | None:
    return datalogger_of(row.site.code, row.topic.encode()) if row.topic else None


def _store(row: TopicMapping, *, before: Mapping[str, tuple[str, ...]]) -> TopicMapping:
    clean(row)
    try:
        with transaction.atomic():
            Site.objects.select_for_update(no_key=True).get(pk=row.site_id)
            others = TopicMapping.objects.filter(site_id=row.site_id)
            if row._state.adding and others.count() >= MAX_MAPPINGS:
                refuse("topic", _("A site has at most %d mappings") % MAX_MAPPINGS)
            row.save()
            if row.is_active:
                # The connection before the devices, as the ingest and a replay do it.
                if row.topic:
                    subscribe_to(row.site, row.topic)
                _make_devices(row, before)
    except IntegrityError as error:
        if "one_mapping_per" not in str(error):
            raise
        field = "topic" if row.topic else "version"
        refuse(field, _("There is a mapping for this already"))
    return row


def _make_devices(row: TopicMapping, before: Mapping[str, tuple[str, ...]]) -> None:
    """Make the datalogger and its sensors, so that the pages show them at once.

    What the mapping says of a sensor for the first time, a person has just written: it
    replaces what is there.
    """
    device = compiled(row).device or _named_device(row)
    if device is None:
        return  # each message names its own
    key = DeviceKey(row.site_id, device.type or "", device.number)
    ids = DeviceIds()
    identities.ensure_dataloggers(ids, [key])
    datalogger_id = ids.dataloggers[key]
    identities.ensure_sensors(ids, [(datalogger_id, v["key"]) for v in row.values])
    told = {
        value["key"]: _told(value)
        for value in row.values
        if _told(value) != before.get(value["key"])
    }
    sensors = SensorDevice.objects.select_for_update().order_by("pk")
    changed = list(sensors.filter(datalogger_id=datalogger_id, key__in=told))
    for sensor in changed:
        label, type_, unit = told[sensor.key]
        sensor.label = label or sensor.label
        sensor.sensor_type = type_ or sensor.sensor_type
        sensor.unit_of_measure = unit or sensor.unit_of_measure
    SensorDevice.objects.bulk_update(
        changed, ["label", "sensor_type", "unit_of_measure"]
    )


def _told(value: Mapping[str, Any]) -> tuple[str, str, str]:
    return value.get("label", ""), value.get("type", ""), value.get("unit", "")


def preview(row: TopicMapping, payload: bytes, *, received_us: int) -> Samples | Bad:
    """Return what a mapping, stored or not, makes of a payload.

    Raises:
        MappingInvalidError: the mapping itself cannot be used.
    """
    mapping = compiled(clean(row))
    device = mapping.device or _named_device(row) or DeviceRef(None, "", "")
    try:
        body = json_or_scalar(payload) if row.topic else strict_json(payload)
        return mapped.samples(mapping, device, body, received_us, zone_of(row.site))
    except PayloadError as error:
        return Bad(error.reason, str(error)[:300])
