"""Whether pasted certificates and keys can be used, said before a worker tries."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


def problem_with_certificates(pem: str) -> str | Promise | None:
    """Return what is wrong with one or more PEM certificates, or None."""
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return _(
            "This is not a certificate in PEM form; paste it whole, from "
            "'-----BEGIN CERTIFICATE-----' to '-----END CERTIFICATE-----'"
        )
    return None


def problem_with_key(pem: str) -> str | Promise | None:
    """Return what is wrong with a PEM private key, or None; never quotes it."""
    try:
        load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        return _("The private key is protected by a passphrase; paste it without one")
    except Exception:  # noqa: BLE001 (ValueError, UnsupportedAlgorithm and OpenSSL's own)
        return _("This is not a private key in PEM form")
    return None


def problem_with_pair(certificate_pem: str, key_pem: str) -> str | Promise | None:
    """Return what is wrong with a client certificate and its key, or None.

    Each may be empty, and is valid otherwise.
    """
    if not certificate_pem:
        return _("A private key needs its certificate") if key_pem else None
    if not key_pem:
        return _("The client certificate needs its private key")
    if not _belong_together(certificate_pem, key_pem):
        return _("The private key does not belong to the certificate")
    return None


def _belong_together(certificate_pem: str, key_pem: str) -> bool:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    certificate = x509.load_pem_x509_certificates(certificate_pem.encode())[0]
    key = load_pem_private_key(key_pem.encode(), password=None)
    own = key.public_key().public_bytes(*form)
    return bool(certificate.public_key().public_bytes(*form) == own)
