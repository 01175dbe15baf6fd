"""Settings from environment variables; a wrong value stops the start by its name."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def _wrong(name: str, value: str, wanted: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name}={value!r} is not {wanted}")


def text(name: str, default: str | None = None) -> str:
    """Return a variable's text, or its default; without one it is required."""
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        message = f"{name} is not set; see .env.example"
        raise ImproperlyConfigured(message)
    return default


def secret(name: str, default: str | None = None) -> str:
    """Return a secret: from NAME, or from the file that NAME_FILE names.

    Without a default it is required.

    Raises:
        ImproperlyConfigured: neither is set or the file cannot be read. The
            message never holds the value.
    """
    path = os.environ.get(f"{name}_FILE", "").strip()
    if not path:
        return text(name, default)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        message = f"{name}_FILE={path!r} cannot be read: {error.strerror}"
        raise ImproperlyConfigured(message) from error


def number(name: str, default: int, *, low: int, high: int) -> int:
    value = text(name, str(default))
    wanted = f"a whole number from {low} to {high}"
    try:
        result = int(value)
    except ValueError as error:
        raise _wrong(name, value, wanted) from error
    if not low <= result <= high:
        raise _wrong(name, value, wanted)
    return result


def boolean(name: str, *, default: bool) -> bool:
    value = text(name, str(default))
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise _wrong(name, value, "true or false")


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise _wrong(name, value, "one of " + ", ".join(allowed))
    return value


def words(name: str, default: str = "") -> list[str]:
    """Return a comma-separated list without empty items."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def url(name: str, schemes: tuple[str, ...]) -> str:
    """Return a required URL with one of the schemes; errors never show its password."""
    value = secret(name)
    try:
        parts = urlsplit(value)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
    else:
        value_scheme = parts.scheme
    if not port_is_fine or value_scheme not in schemes:
        message = f"{name} is not a URL of the form {schemes[0]}://user:password@host:port/name"
        raise ImproperlyConfigured(message)
    return value
