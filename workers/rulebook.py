"""What decoding needs to know of the sites: pinned versions and mappings.

Both are read when they changed, which is asked at most once a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from django.db import connection
from django.db.utils import Error as DatabaseError

from apps.devices.models import Datalogger
from apps.telemetry.models import TopicMapping
from apps.telemetry.protocols.mapped import NO_RULES, PayloadMapping, SiteRules
from apps.telemetry.rules import PIN_COLUMNS, compiled_or_none, pinned

CHECK_S = 1.0

# Sums of hashes: a row that was changed, added or deleted changes them, in whatever
# order the transactions commit (of times alone, the newest hides an older one that
# commits later). The pins come from a partial index that holds nothing else.
_STATE = """
SELECT (SELECT (count(*), sum(hashtextextended(updated_at::text, id)))::text
        FROM telemetry_topicmapping),
    (SELECT (count(*), sum(hashint8extended(protocol_version, id)))::text
        FROM devices_datalogger WHERE protocol_version IS NOT NULL)
"""


class RuleBook:
    """A cache for the writer; while the database is away the last answer holds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = -CHECK_S
        self._mappings_state = self._pins_state = ""
        self._mappings: dict[int, tuple[datetime, TopicMapping, PayloadMapping]] = {}
        self._pins: dict[int, dict[tuple[str, str], int]] = {}
        self._rules: dict[int, SiteRules] = {}

    def refresh(self) -> bool:
        """Read what changed, if the last look was long ago; call once a batch.

        Returns:
            False if the database did not answer: what was read before holds.
        """
        now = self._clock()
        if now - self._looked_at < CHECK_S:
            return True
        self._looked_at = now
        try:
            self._look()
        except DatabaseError:
            return False
        return True

    def of_site(self, site_id: int) -> SiteRules:
        return self._rules.get(site_id, NO_RULES)

    def _look(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_STATE)
            mappings_state, pins_state = cursor.fetchone()
        if (mappings_state, pins_state) == (self._mappings_state, self._pins_state):
            return
        if mappings_state != self._mappings_state:
            self._read_mappings()
        if pins_state != self._pins_state:
            rows = Datalogger.objects.exclude(protocol_version=None)
            self._pins = pinned(rows.values_list(*PIN_COLUMNS))
        self._put_together()
        self._mappings_state, self._pins_state = mappings_state, pins_state

    def _read_mappings(self) -> None:
        """Read the rows that are new or changed; a row may hold 200 values."""
        rows = TopicMapping.objects.filter(is_active=True)
        now = dict(rows.values_list("pk", "updated_at"))
        kept = {
            pk: known for pk, known in self._mappings.items() if now.get(pk) == known[0]
        }
        for row in rows.filter(pk__in=now.keys() - kept.keys()):
            mapping = compiled_or_none(row)
            if mapping is not None:
                kept[row.pk] = (row.updated_at, row, mapping)
        self._mappings = kept

    def _put_together(self) -> None:
        by_topic: dict[int, dict[bytes, PayloadMapping]] = {}
        by_version: dict[int, dict[int, PayloadMapping]] = {}
        for _, row, mapping in self._mappings.values():
            if row.version is None:
                by_topic.setdefault(row.site_id, {})[row.topic.encode()] = mapping
            else:
                by_version.setdefault(row.site_id, {})[row.version] = mapping
        self._rules = {
            site_id: SiteRules(
                self._pins.get(site_id, {}),
                by_topic.get(site_id, {}),
                by_version.get(site_id, {}),
            )
            for site_id in {*self._pins, *by_topic, *by_version}
        }
