"""Starts, ends and announces the bounded whiles of listening to all of a site's topics.

A session is a row; the worker that owns the site's shard listens, counts into the row
and closes it. Whoever else closes the row ends the listening within a second.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from apps.core import events
from apps.core.errors import DomainError
from apps.core.parsing import iso_z
from apps.core.shards import shard_of
from apps.devices.models import DiscoverySession, SessionState
from apps.sites import commands
from apps.sites.models import Site, Status
from apps.sites.selectors import connection_statuses

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

DEFAULT_S = 60
MAX_S = 600
MAX_FILTERS = 20
KEPT_SESSIONS = 50  # a site; older ones go when a new one starts
GRACE_S = 60  # a worker that connects slowly, or waits for the database, is not dead

OPEN = (SessionState.WAITING, SessionState.RUNNING)


class AlreadyRunningError(DomainError):
    """A site has one discovery session at a time."""

    code = "already_running"
    status = 409

    def __init__(self, site_id: int) -> None:
        super().__init__(
            f"Site {site_id} is being discovered already; wait for its end, or end it "
            f"with DELETE /api/v1/mqtt/sites/{site_id}/discover/"
        )


class NotConnectedError(DomainError):
    """Nobody listens for a site that is not connected."""

    code = "not_connected"
    status = 409

    def __init__(self, site_id: int, status: str) -> None:
        super().__init__(
            f"Site {site_id} is not connected (status: {status}); start it with "
            f"POST /api/v1/mqtt/sites/{site_id}/start/"
        )


class NoQueueError(DomainError):
    """The worker cannot be told."""

    code = "unavailable"
    status = 503

    def __init__(self) -> None:
        super().__init__("The worker cannot be reached now; try again")


def session_start(
    site: Site,
    *,
    user: AbstractBaseUser | AnonymousUser,
    duration_s: int = DEFAULT_S,
    filters: Sequence[str] = (),
) -> DiscoverySession:
    """Have the owner of the site's shard listen to the whole of its tree.

    Args:
        site: is connected.
        user: whose name stays with the session.
        duration_s: 1 to 600.
        filters: further filters, valid ones, not relative to the site.

    Raises:
        NotConnectedError, AlreadyRunningError, NoQueueError
    """
    found = connection_statuses(user, [site.pk])  # none: it was never configured
    status = found[0].status if found else Status.DISCONNECTED
    if status != Status.CONNECTED:
        raise NotConnectedError(site.pk, status)
    close_overdue(timezone.now())
    try:
        with transaction.atomic():
            session = DiscoverySession.objects.create(
                site=site,
                username=user.get_username(),
                duration_s=duration_s,
                filters=list(dict.fromkeys(filters)),
            )
            _forget_old(site)
    except IntegrityError as error:
        raise AlreadyRunningError(site.pk) from error
    if not commands.send_discover(site.pk, session.pk):
        close(session.pk, SessionState.FAILED, "Redis was away")
        raise NoQueueError
    announce(session)
    return session


def _forget_old(site: Site) -> None:
    sessions = DiscoverySession.objects.filter(site=site)
    kept = list(sessions.values_list("pk", flat=True)[:KEPT_SESSIONS])
    sessions.exclude(pk__in=kept).delete()


def session_stop(site: Site, *, username: str) -> bool:
    """End a site's session early; return whether there was one."""
    session = DiscoverySession.objects.filter(site=site, state__in=OPEN).first()
    if session is None:
        return False
    return close(session.pk, SessionState.FINISHED, f"Stopped by {username}")


def waiting_site(session_id: int) -> int | None:
    """Return the site of a session that waits for its worker."""
    return _untaken(session_id).values_list("site_id", flat=True).first()


def claim(session_id: int) -> DiscoverySession | None:
    """Take a session that waits for its worker; None if somebody else has it.

    It runs from the broker's answer to its subscription on, not from here.
    """
    if not _untaken(session_id).update(taken_at=timezone.now()):
        return None
    return DiscoverySession.objects.filter(pk=session_id).first()


def _untaken(session_id: int) -> QuerySet[DiscoverySession]:
    return DiscoverySession.objects.filter(
        pk=session_id, state=SessionState.WAITING, taken_at=None
    )


def close(session_id: int, state: SessionState, detail: str) -> bool:
    """Close a session that is not closed yet, and say so."""
    is_ours = DiscoverySession.objects.filter(pk=session_id, state__in=OPEN).update(
        state=state, ended_at=timezone.now(), detail=detail[:300]
    )
    session = DiscoverySession.objects.filter(pk=session_id).first()
    if is_ours and session is not None:
        transaction.on_commit(lambda: announce(session))
    return bool(is_ours)


def close_left_behind(shard: int, *, but: Collection[int] = ()) -> int:
    """Close what an earlier owner of a shard listened to: nobody does any more.

    Args:
        shard: has a new owner.
        but: the sessions that this one has taken already.
    """
    count = 0
    for session in DiscoverySession.objects.filter(
        state__in=OPEN, taken_at__isnull=False
    ).exclude(pk__in=but):
        if shard_of(session.site_id, settings.MQTT_SHARDS) == shard:
            count += close(session.pk, SessionState.FAILED, "Its worker is gone")
    return count


def close_overdue(now: datetime) -> int:
    """Close the sessions that no worker took, or whose worker died; return how many.

    A command that is not taken expires before the next reconcile.
    """
    late = now - timedelta(seconds=GRACE_S)
    expired = late - timedelta(seconds=settings.RECONCILE_INTERVAL)
    never = Q(state=SessionState.WAITING, taken_at=None, created_at__lt=expired)
    unheard = Q(state=SessionState.WAITING, taken_at__lt=late)
    over = Q(state=SessionState.RUNNING, started_at__lt=late - _duration())
    found: QuerySet[DiscoverySession] = DiscoverySession.objects.filter(
        never | unheard | over
    )
    count = 0
    for session in found:
        was_taken = session.taken_at or session.started_at
        why = "Its worker is gone" if was_taken else "No worker took it"
        count += close(session.pk, SessionState.FAILED, why)
    return count


def _duration() -> Any:  # noqa: ANN401 (Django's expressions have no common type)
    return F("duration_s") * timedelta(seconds=1)


def session_state(session: DiscoverySession, *, now: datetime) -> dict[str, Any]:
    """Return a session as the API and the events say it; times as datetimes."""
    begins = session.started_at or session.created_at
    ends_at = begins + timedelta(seconds=session.duration_s)
    is_over = session.state not in OPEN
    left = 0.0 if is_over else max(0.0, (ends_at - now).total_seconds())
    return {
        "id": session.pk,
        "site_id": session.site_id,
        "state": session.state,
        "username": session.username,
        "duration_s": session.duration_s,
        "filters": session.filters,
        "created_at": session.created_at,
        "started_at": session.started_at,
        "ends_at": ends_at,
        "ended_at": session.ended_at,
        "seconds_left": round(left, 1),
        "messages": session.messages,
        "topics": session.topics,
        "detail": session.detail,
    }


def announce(
    session: DiscoverySession, topics: Sequence[dict[str, object]] = ()
) -> bool:
    """Tell who looks at the site how far its session is. Not inside a transaction."""
    state = {
        name: iso_z(value) if isinstance(value, datetime) else value
        for name, value in session_state(session, now=timezone.now()).items()
    }
    return events.emit(
        [events.site_channel(session.site_id)],
        "discovery",
        {"session": state, "topics": list(topics)},
    )
