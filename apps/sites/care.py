"""Care of a running connection: have it subscribe to everything once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.sites import commands
from apps.sites.models import Site, Status
from apps.sites.selectors import connection_statuses

if TYPE_CHECKING:
    from apps.sites.selectors import Person


class NotConnectedError(DomainError):
    code = "not_connected"
    status = 409

    def __init__(self, site_id: int) -> None:
        text = _("Site %d is not connected to its broker; it subscribes when it is")
        super().__init__(text % site_id)


class NoQueueError(DomainError):
    code = "unavailable"
    status = 503

    def __init__(self) -> None:
        super().__init__(_("The worker cannot be reached now; try again"))


def resubscribe(user: Person, site: Site) -> None:
    """Have a connected site subscribe to all its topics once more.

    Raises:
        NotConnectedError: there is nothing to subscribe on.
        NoQueueError: Redis is away, so nobody was asked.
    """
    now = connection_statuses(user, [site.pk])
    if not now or now[0].status != Status.CONNECTED:
        raise NotConnectedError(site.pk)
    if not commands.send_resubscribe(site.pk):
        raise NoQueueError
