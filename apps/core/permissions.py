"""Who may do what, as far as it does not depend on a site.

Views look a site up among those the user may see first (404), and ask for the right to
change it second (403), so that a 403 never tells that a hidden site exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.throttling import ScopedRateThrottle

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from rest_framework.request import Request


def is_superuser(user: AbstractBaseUser | AnonymousUser) -> bool:
    return bool(user.is_authenticated and getattr(user, "is_superuser", False))


def require(allowed: bool) -> None:
    """Raise `PermissionDenied` (403) unless allowed."""
    if not allowed:
        raise PermissionDenied


class ThrottleByAddress(ScopedRateThrottle):
    """Count by the peer's address alone.

    X-Forwarded-For is the caller's own word; behind a proxy the server (uvicorn,
    --forwarded-allow-ips) has already put the true address in REMOTE_ADDR.
    """

    def get_ident(self, request: Request) -> str:
        return str(request.META.get("REMOTE_ADDR", ""))
