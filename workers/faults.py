"""From what went wrong on the wire to the reason that people read. Pure."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple

from workers.dialing import HandshakeError, HandshakeTimeoutError


class Fault(NamedTuple):
    """A reason (a value of `Reason`) and a sentence that says more."""

    reason: str
    detail: str


# MQTT 5 reason codes, which paho also uses for the five of 3.1.1 (§3.2.2.2 there).
_AUTH = {0x86, 0x87, 0x8A, 0x8C}
_REFUSED = {0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F}
_CONFIG = {0x85, 0x90}


def fault_of_code(code: int, words: str) -> Fault:
    """Return the fault that a CONNACK code stands for."""
    if code in _AUTH:
        return Fault("auth", f"The broker refused us: {words}")
    if code in _REFUSED:
        return Fault("refused", f"The broker refused us: {words}")
    if code in _CONFIG:
        return Fault("config", f"The broker does not take our settings: {words}")
    return Fault("protocol", f"The broker refused us: {words} (0x{code:02X})")


def fault_of_silence(was_silent: bool, tls_alert: str) -> Fault:
    """Return the fault of a link that ended before CONNACK.

    Args:
        was_silent: we gave up waiting; else the broker closed.
        tls_alert: what it said in TLS, if anything: in TLS 1.3 a client certificate is
            refused after the handshake.
    """
    if tls_alert:
        return Fault("tls", f"The broker ended the secure connection: {tls_alert}")
    if was_silent:
        return Fault("timeout", "The broker did not answer in time")
    return Fault(
        "auth",
        "The broker closed the connection before answering; the usual cause is a wrong "
        "user name or password, or a TLS port",
    )


def _why(error: ssl.SSLCertVerificationError) -> str:
    """Return OpenSSL's words without the place in its source."""
    return str(getattr(error, "verify_message", "") or error)[:200]


def fault_of_error(error: Exception) -> Fault:
    """Return the fault that an exception while connecting stands for."""
    words = str(error)[:200] or type(error).__name__
    if isinstance(error, socket.gaierror):
        return Fault("dns", f"The host name cannot be resolved: {words}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault("tls", f"The broker's certificate is refused: {_why(error)}")
    if isinstance(error, HandshakeError):
        return Fault(
            "tls", "The host hung up when asked for TLS; perhaps this port has none"
        )
    if isinstance(error, ssl.SSLError):
        return Fault("tls", f"No secure connection: {words}")
    if isinstance(error, HandshakeTimeoutError):
        return Fault("tls", "The host did not finish the TLS handshake in time")
    if isinstance(error, TimeoutError):
        return Fault("timeout", "The host did not answer in time")
    if isinstance(error, OSError):
        return Fault("refused", f"The host does not take the connection: {words}")
    return Fault("config", f"The settings cannot be used: {words}")
