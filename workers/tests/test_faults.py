"""From an error on the wire to the reason that people read."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from apps.sites.models import Reason
from workers.faults import fault_of_code, fault_of_error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "dns"),
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "refused"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "refused"),
        (TimeoutError("timed out"), "timeout"),
        (ssl.SSLCertVerificationError("certificate has expired"), "tls"),
        (ssl.SSLError(1, "wrong version number"), "tls"),
        (ssl.SSLEOFError(8, "EOF occurred"), "tls"),
        (ValueError("Invalid host."), "config"),
        (UnicodeError("label too long"), "config"),
        (OSError(), "refused"),
    ],
)
def test_every_error_while_connecting_has_its_reason(error, reason):
    fault = fault_of_error(error)

    assert fault.reason == reason
    assert fault.reason in Reason.values
    assert fault.detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0x86, "auth"),
        (0x87, "auth"),
        (0x8A, "auth"),
        (0x8C, "auth"),
        (0x88, "refused"),
        (0x89, "refused"),
        (0x97, "refused"),
        (0x9F, "refused"),
        (0x85, "config"),
        (0x90, "config"),
        (0x84, "protocol"),
        (0x80, "protocol"),
        (0xFF, "protocol"),
    ],
)
def test_every_code_of_a_connack_has_its_reason(code, reason):
    fault = fault_of_code(code, "words of the broker")

    assert fault.reason == reason
    assert "words of the broker" in fault.detail


def test_a_long_error_is_cut():
    assert len(fault_of_error(OSError("x" * 10_000)).detail) < 300
