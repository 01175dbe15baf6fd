"""Broker hosts as people write them: a name or an address, nothing around it."""

from __future__ import annotations

import re
from ipaddress import ip_address

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

MAX_LENGTH = 255
# Underscores are no host name by the letter, but names of containers have them.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")


def problem_with_host(host: str) -> str | Promise | None:
    """Return what is wrong with a broker's host, or None."""
    if not host:
        return _("A host name or IP address is required")
    if len(host) > MAX_LENGTH:
        return _("A host name has at most 255 characters")
    if any(letter.isspace() or not letter.isprintable() for letter in host):
        return _("A host name holds no spaces and no control characters")
    if "://" in host or "/" in host or "@" in host:
        return _("Only the host name, without scheme, user or path")
    if _is_address(host):
        return None
    if ":" in host or "[" in host:
        return _("The port goes into its own field; an IPv6 address has no brackets")
    return None if _is_name(host) else _("This is not a host name or IP address")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    try:
        ascii_name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return False
    return all(_LABEL.match(label) for label in ascii_name.removesuffix(".").split("."))
