"""One signed POST: short time limits, no redirects, nothing of the answer's body."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult

from apps.alerts import targets

TIMEOUT_S = 5.0  # for all of it, once the name is resolved
CUT_AGAIN_S = 0.05


class NotDeliveredError(Exception):
    """Why a message did not arrive, in words without secrets.

    `is_away`: nobody is there; further messages would fail as well.
    """

    def __init__(self, words: str, *, is_away: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.is_away = is_away


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with what signs it: `delivery` lets the receiver see repetitions."""

    body: bytes
    delivery: str
    secret: str

    def headers(self, timestamp: int) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "Guardiano",
            "Connection": "close",
            "X-Guardiano-Delivery": self.delivery,
            "X-Guardiano-Timestamp": str(timestamp),
            "X-Guardiano-Signature": sign(self.secret, timestamp, self.body),
        }


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return `sha256=` and the HMAC of timestamp, a dot, and the body."""
    signed = f"{timestamp}.".encode() + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def post(url: str, envelope: Envelope) -> None:
    """Deliver; raises `NotDeliveredError` for anything but an answer of 200 to 299."""
    parts = targets.split(url)
    if parts is None or not parts.hostname:
        message = "the URL cannot be used"
        raise NotDeliveredError(message)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    status = _answer_of(_connection_to(parts), path, envelope)
    if 300 <= status < 400:  # noqa: PLR2004 (HTTP's classes)
        message = f"redirects are not followed (HTTP {status})"
        raise NotDeliveredError(message)
    if not 200 <= status < 300:  # noqa: PLR2004
        message = f"the receiver answered HTTP {status}"
        raise NotDeliveredError(message)


def _connection_to(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(
            host, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)


def _answer_of(
    connection: http.client.HTTPConnection, path: str, envelope: Envelope
) -> int:
    # The socket's own limit is for each byte: who sends one every 4 s would hold us.
    over = threading.Event()
    alarm = threading.Timer(TIMEOUT_S, _cut, [connection, over])
    alarm.daemon = True
    started = time.monotonic()
    try:
        alarm.start()
        headers = envelope.headers(int(time.time()))
        connection.request("POST", path, envelope.body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        is_late = time.monotonic() - started >= TIMEOUT_S
        raise NotDeliveredError(
            _in_words(error, is_late=is_late), is_away=True
        ) from error
    finally:
        over.set()
        alarm.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection, over: threading.Event) -> None:
    """Cut it off, as soon as its name is resolved and its handshake over.

    A handshake has the socket's limit as a whole.
    """
    while not over.is_set():
        if (held := connection.sock) is not None:
            with suppress(OSError):  # in its handshake, or closed in this moment
                held.shutdown(socket.SHUT_RDWR)
                return
        over.wait(CUT_AGAIN_S)


def _in_words(error: Exception, *, is_late: bool) -> str:
    """Say what happened without repeating the URL, whose path may be a secret."""
    if is_late or isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, socket.gaierror):
        return "the host name is not found"
    if isinstance(error, ConnectionRefusedError):
        return "nothing accepts connections there"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "the secure connection failed"
    if isinstance(error, http.client.HTTPException):
        return "the answer was not HTTP"
    return f"the connection broke ({type(error).__name__})"
