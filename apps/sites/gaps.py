"""When a connection may have missed messages: judged when it comes back.

Nobody can say what a broker threw away. What is known: how long we were away, whether
the broker still had our session, and how much came a minute before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apps.sites.models import GapCause, MqttConnection, Status, SuspectedGap
from apps.sites.reports import Report

# Kept for an absent session by default: mosquitto, EMQX, HiveMQ (docs/operations.md).
BROKER_KEEPS = 1_000
RECENT_MINUTES = 5


@dataclass(frozen=True, slots=True)
class Return:
    """A connection that is there again after it was away."""

    left_at: datetime
    back_at: datetime
    is_clean: bool  # it asks for nothing to be kept
    session_present: bool | None
    has_qos_0: bool
    per_minute: int  # messages, before it left


def judge(what: Return) -> tuple[GapCause, str] | None:
    """Return why messages may be missing, in words too; None: no reason to think so."""
    if what.is_clean:
        return GapCause.CLEAN_SESSION, ""
    if what.session_present is False:
        return GapCause.SESSION_LOST, ""
    away_s = (what.back_at - what.left_at).total_seconds()
    expected = away_s * what.per_minute / 60
    if expected > BROKER_KEEPS:
        words = f"about {expected:,.0f} messages at {what.per_minute:,} a minute"
        return GapCause.QUEUE_OVERFLOW, words
    return (GapCause.QOS_0, "") if what.has_qos_0 else None


def left_at(before: MqttConnection, report: Report) -> datetime | None:
    """Return when the connection was last surely heard; None: it was not away.

    Pure. `before` is the row as it was when the report came. The owner that lost the
    link knows best; of one that died, its last report is the last sign.
    """
    if not before.is_enabled:
        return None
    if report.lost_at is not None:
        return report.lost_at
    if before.away_since is not None:
        return before.away_since
    if before.status != Status.CONNECTED:
        return None
    is_other = report.epoch != before.report_epoch
    return before.last_heartbeat_at if is_other else report.at


def note_return(before: MqttConnection, report: Report) -> None:
    """Note a gap if this report tells of a new link and something may be missing."""
    back_at, since = report.connected_at, left_at(before, report)
    if back_at is None or since is None or back_at <= since:
        return
    if before.last_connected_at is not None and back_at <= before.last_connected_at:
        return  # the link that we know
    found = judge(
        Return(
            left_at=since,
            back_at=back_at,
            is_clean=report.is_clean,
            session_present=report.session_present,
            has_qos_0=bool(report.lowered_topics)
            or before.topics.filter(is_active=True, qos=0).exists(),
            per_minute=before.recent_per_minute,
        )
    )
    if found is not None:
        SuspectedGap.objects.get_or_create(
            connection=before,
            ended_at=back_at,
            defaults={"began_at": since, "cause": found[0], "detail": found[1]},
        )


def recent_per_minute(report: Report) -> int:
    """Return the messages of the busiest of the last minutes, as the owner knows."""
    return max(report.per_minute[-RECENT_MINUTES:], default=0)
