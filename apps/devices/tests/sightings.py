"""Sightings of topics, as ingest and discovery sessions make them."""

from __future__ import annotations

from datetime import UTC, datetime

from apps.devices.discovery import Key, Sighting, see
from apps.sites.models import Site

SECOND_US = 1_000_000
START_US = int(datetime(2026, 11, 21, 6, tzinfo=UTC).timestamp()) * SECOND_US


def seen(
    site: Site, *topics: str, payload: bytes = b"1", at_s: float = 0.0
) -> dict[Key, Sighting]:
    """Return one message of each topic; a topic may be named twice."""
    sightings: dict[Key, Sighting] = {}
    for topic in topics:
        see(
            sightings,
            site.pk,
            topic.encode(),
            payload,
            qos=1,
            retain=False,
            at_us=START_US + int(at_s * SECOND_US),
        )
    return sightings
