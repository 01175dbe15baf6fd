"""Where alerts may be sent: addresses and URLs as people write them."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.alerts.models import ChannelKind
from apps.sites.hosts import problem_with_host

MAX_ADDRESSES = 20
MAX_SECRET = 200


def problem_with_target(kind: str, target: str) -> str | Promise | None:
    """Return what is wrong with a channel's target, or None."""
    if kind == ChannelKind.EMAIL:
        return _problem_with_addresses(target)
    return _problem_with_url(target)


def _problem_with_addresses(target: str) -> str | Promise | None:
    addresses = [part.strip() for part in target.split(",") if part.strip()]
    if not addresses:
        return _("At least one e-mail address is required")
    if len(addresses) > MAX_ADDRESSES:
        return _("At most 20 e-mail addresses")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            return _("'%s' is not an e-mail address") % address[:100]
    return None


def _problem_with_url(target: str) -> str | Promise | None:
    if not target.isascii() or not target.isprintable() or " " in target:
        return _("A URL holds no spaces and only ASCII; encode the rest as %xx")
    parts = split(target)
    if parts is None or parts.scheme not in ("http", "https"):
        return _("A URL begins with https:// or http://")
    if "@" in parts.netloc:
        return _("No user and password in the URL; the signature proves who sends")
    return problem_with_host(parts.hostname or "")


def split(target: str) -> SplitResult | None:
    """Return the URL's parts, None if it is none."""
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        return None
    return None if port == 0 else parts
