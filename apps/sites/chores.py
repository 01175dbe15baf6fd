"""What this app throws away: timelines, commands, gaps, remembered deliveries."""

from __future__ import annotations

from apps.core import sqlprune
from apps.core.chores import Chore
from apps.sites import deliveries

KEEP_EVENTS_DAYS = 400  # a year, and a month to compare it with
KEEP_COMMANDS_DAYS = 400
KEEP_GAPS_DAYS = 400

_OLD_COMMANDS = "created_at < now() - make_interval(days => %s)"
_OLD_GAPS = "ended_at < now() - make_interval(days => %s)"

# By connection, since the index is: no look at the events that stay.
_OLD_EVENTS = (
    "at < now() - make_interval(days => %s) "
    "AND connection_id IN (SELECT id FROM sites_mqttconnection)"
)


def _count(table: str, condition: str, days: int) -> int:
    return sqlprune.count(table, condition, [days])


CHORES = [
    Chore(
        "connection events",
        do=lambda: sqlprune.delete(
            "sites_connectionevent", _OLD_EVENTS, [KEEP_EVENTS_DAYS]
        ),
        would=lambda: _count("sites_connectionevent", _OLD_EVENTS, KEEP_EVENTS_DAYS),
    ),
    Chore(
        "commands",
        do=lambda: sqlprune.delete(
            "sites_command", _OLD_COMMANDS, [KEEP_COMMANDS_DAYS]
        ),
        would=lambda: _count("sites_command", _OLD_COMMANDS, KEEP_COMMANDS_DAYS),
    ),
    Chore(
        "suspected gaps",
        do=lambda: sqlprune.delete("sites_suspectedgap", _OLD_GAPS, [KEEP_GAPS_DAYS]),
        would=lambda: _count("sites_suspectedgap", _OLD_GAPS, KEEP_GAPS_DAYS),
    ),
    Chore(
        "remembered deliveries",
        do=deliveries.prune,
        would=deliveries.count_prunable,
    ),
]
