"""From a host and port to a socket that MQTT can be spoken on: DNS, TCP, TLS.

Everything here blocks, each step with a time limit of its own.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.spec import ConnectionSpec, Tls

TCP_TIMEOUT_S = 5.0  # for all of a host's addresses together
TLS_TIMEOUT_S = 5.0

# Family, and address as the socket module wants it.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class HandshakeTimeoutError(TimeoutError):
    """The host took the TCP connection and then said nothing, or not enough."""


class HandshakeError(ssl.SSLError):
    """The host hung up in the middle of the handshake."""


def dial(spec: ConnectionSpec) -> socket.socket:
    """Return a socket to the broker, non-blocking not yet set.

    Raises:
        OSError: gaierror, ConnectionRefusedError, TimeoutError, SSLError and kin.
        ValueError: settings that ssl cannot use.
    """
    context = tls_context(spec.tls) if spec.tls else None
    sock = connect(resolve(spec.host, spec.port), TCP_TIMEOUT_S)
    return secure(sock, context, spec, TLS_TIMEOUT_S) if context else sock


def resolve(host: str, port: int) -> list[Address]:
    """Return the host's addresses; the resolver's own time limits hold."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def connect(addresses: Sequence[Address], timeout_s: float) -> socket.socket:
    """Return a connection to the first address that answers.

    A host with many dead addresses takes no longer than one with a single one: what
    is left of the time is shared among those that were not tried yet.
    """
    deadline = time.monotonic() + timeout_s
    failed: OSError = TimeoutError("no address answered")
    for place, (family, address) in enumerate(addresses):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(max(0.2, left_s / (len(addresses) - place)))
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failed = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise failed


def secure(
    sock: socket.socket, context: ssl.SSLContext, spec: ConnectionSpec, timeout_s: float
) -> ssl.SSLSocket:
    """Shake hands; the settings' server name, else the host, is asked for and checked.

    The socket is closed when that fails.
    """
    name = (spec.tls.server_name if spec.tls else "") or spec.host
    try:
        secured = context.wrap_socket(
            sock, server_hostname=name, do_handshake_on_connect=False
        )
    except BaseException:
        sock.close()
        raise
    try:
        secured.settimeout(timeout_s)
        secured.do_handshake()
    except TimeoutError as error:
        secured.close()
        raise HandshakeTimeoutError from error
    except ssl.SSLError:
        secured.close()
        raise
    except OSError as error:
        secured.close()
        raise HandshakeError(0, "the host hung up") from error
    except BaseException:
        secured.close()
        raise
    return secured


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return what the settings say about trust and our own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca:
        context.load_verify_locations(cadata=tls.ca)
    else:
        context.load_default_certs()
    if tls.client_cert:
        # OpenSSL takes a chain only from files; the directory is 0700 and goes at once.
        with tempfile.TemporaryDirectory(prefix="guardiano-tls-") as folder:
            cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
            cert.write_text(tls.client_cert)
            key.write_text(tls.client_key)
            context.load_cert_chain(cert, key if tls.client_key else None)
    return context
