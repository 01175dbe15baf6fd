"""Secrets at rest: encrypted with FIELD_ENCRYPTION_KEYS, unreadable means an error.

The first key encrypts, all of them decrypt, so a key is rotated by putting the new one
first. A wrong key raises; the ciphertext is never handed out as if it were the secret.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class SecretUnreadableError(Exception):
    """A stored secret cannot be decrypted with any of FIELD_ENCRYPTION_KEYS."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The stored {what} cannot be decrypted with FIELD_ENCRYPTION_KEYS; "
            "restore the key or enter it again"
        )


def check_keys(value: str) -> tuple[str, ...]:
    """Return the comma-separated Fernet keys; raise if there is none or one is bad."""
    keys = tuple(key.strip() for key in value.split(",") if key.strip())
    for place, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError as error:
            message = (
                f"FIELD_ENCRYPTION_KEYS: key {place} is not 32 bytes in URL-safe base64"
            )
            raise ImproperlyConfigured(message) from error
    if not keys:
        message = "FIELD_ENCRYPTION_KEYS holds no key"
        raise ImproperlyConfigured(message)
    return keys


@lru_cache(maxsize=8)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(plain: str) -> str:
    """Return the text encrypted with the first key; an empty text stays empty."""
    if not plain:
        return ""
    return _box(settings.FIELD_ENCRYPTION_KEYS).encrypt(plain.encode()).decode("ascii")


def decrypt(token: str, *, what: str) -> str:
    """Return the plain text of what `encrypt` gave.

    Raises:
        SecretUnreadableError: no key fits, or the stored text is damaged.
    """
    if not token:
        return ""
    try:
        return _box(settings.FIELD_ENCRYPTION_KEYS).decrypt(token.encode()).decode()
    except (InvalidToken, UnicodeError) as error:
        raise SecretUnreadableError(what) from error
