"""Sites as operators name them on a command line: by code or by id."""

from __future__ import annotations

from django.core.management.base import CommandError

from apps.sites.models import Site

_DIGITS = 18  # more of them are no id: a bigint ends there


def site_named(wanted: str) -> Site:
    """Return the site with this code, else the one with this id.

    Raises:
        CommandError: there is neither.
    """
    site = Site.objects.filter(code=wanted).first()
    if (
        site is None
        and wanted.isascii()
        and wanted.isdecimal()
        and len(wanted) <= _DIGITS
    ):
        site = Site.objects.filter(pk=int(wanted)).first()
    if site is None:
        message = f"there is no site {wanted!r}; give its code or its id"
        raise CommandError(message, returncode=2)
    return site
