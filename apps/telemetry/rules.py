"""A site's rules for decoding, read from the database: pinned versions and mappings."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apps.devices.models import Datalogger
from apps.sites.models import Site
from apps.telemetry.facts import DeviceRef, SensorInfo
from apps.telemetry.models import TopicMapping
from apps.telemetry.protocols import paths
from apps.telemetry.protocols.mapped import MappedValue, PayloadMapping, SiteRules

log = logging.getLogger(__name__)

_NOTHING_SAID = SensorInfo()


def compiled(row: TopicMapping) -> PayloadMapping:
    """Return a mapping as decoding uses it.

    Raises:
        ValueError, KeyError, TypeError: the row was not written by our services.
    """
    values = tuple(
        MappedValue(
            path=paths.parse(value["path"]),
            key=value["key"],
            scale=float(value.get("scale", 1.0)),
            offset=float(value.get("offset", 0.0)),
        )
        for value in row.values
    )
    told = {
        value["key"]: SensorInfo(
            value.get("label", ""), value.get("type", ""), value.get("unit", "")
        )
        for value in row.values
    }
    return PayloadMapping(
        values=values,
        ts_path=paths.parse(row.ts_path) if row.ts_path else None,
        device=(
            DeviceRef(None, row.datalogger_type, row.datalogger_number)
            if row.datalogger_type
            else None
        ),
        sensors={key: info for key, info in told.items() if info != _NOTHING_SAID},
    )


def compiled_or_none(row: TopicMapping) -> PayloadMapping | None:
    """Return the mapping, None (with a line in the log) if the row is damaged."""
    try:
        return compiled(row)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("mapping %d is unusable: %s", row.pk, error)  # noqa: TRY400 (no trace needed)
        return None


def site_rules(site_id: int) -> SiteRules:
    """Return what decoding needs to know of a site, as it is now."""
    pins = pinned(Datalogger.objects.filter(site_id=site_id).values_list(*PIN_COLUMNS))
    rows = TopicMapping.objects.filter(site_id=site_id, is_active=True)
    pairs = [
        (row, mapping) for row in rows if (mapping := compiled_or_none(row)) is not None
    ]
    return SiteRules(
        pins=pins.get(site_id, {}),
        by_topic={r.topic.encode(): m for r, m in pairs if r.version is None},
        by_version={r.version: m for r, m in pairs if r.version is not None},
    )


def zone_of(site: Site) -> ZoneInfo:
    """Return the site's time zone; UTC if this machine knows no such zone."""
    try:
        return ZoneInfo(site.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder's name
        return ZoneInfo("UTC")


PIN_COLUMNS = ("site_id", "type", "number", "protocol_version")


def pinned(
    rows: Iterable[tuple[int, str, str, int | None]],
) -> dict[int, dict[tuple[str, str], int]]:
    """Return the pinned versions by site, then by a datalogger's type and number."""
    pins: dict[int, dict[tuple[str, str], int]] = {}
    for site_id, type_, number, version in rows:
        if version is not None:
            pins.setdefault(site_id, {})[type_, number] = version
    return pins
