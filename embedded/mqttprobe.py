"""Asks an MQTT broker whether it takes a login, with nothing but a socket."""

from __future__ import annotations

import os
import socket
import struct

CONNECT, CONNACK = 0x10, 0x20
CLEAN, HAS_PASSWORD, HAS_USERNAME = 0x02, 0x40, 0x80
KEEPALIVE_S = 10


def accepts(
    host: str,
    port: int,
    *,
    login: tuple[str, str] | None,
    level: int = 4,
    timeout_s: float = 1.0,
) -> bool:
    """Whether a CONNECT is answered by a CONNACK with code 0.

    Args:
        host: address of the broker.
        port: TCP port of the broker.
        login: user name and password, None for an anonymous client.
        level: 4 for MQTT 3.1.1, 5 for MQTT 5.
        timeout_s: for each step on the socket.

    Source: MQTT 3.1.1 §3.1, §3.2; MQTT 5 §3.1, §3.2.
    """
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(_connect(login, level))
            head = _read(connection, 2)
            body = _read(connection, head[1])
            # No DISCONNECT: rumqttd (iotcore 0.4.0) takes the packet and the closed
            # socket for two events, and the second one can hit the next client.
            return head[0] == CONNACK and body[1] == 0
    except (OSError, IndexError):
        return False


def listens(host: str, port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether anything takes a TCP connection there."""
    try:
        with socket.create_connection((host, port), timeout_s):
            return True
    except OSError:
        return False


def _connect(login: tuple[str, str] | None, level: int) -> bytes:
    flags = CLEAN | (HAS_USERNAME | HAS_PASSWORD if login else 0)
    body = _text("MQTT") + struct.pack("!BBH", level, flags, KEEPALIVE_S)
    body += b"\0" if level == 5 else b""  # noqa: PLR2004 - no properties in MQTT 5
    body += _text(f"ready-{os.getpid()}-{os.urandom(3).hex()}")
    for part in login or ():
        body += _text(part)
    return bytes([CONNECT]) + _length(len(body)) + body


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, digit = divmod(size, 128)
        out.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(out)


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            break  # closed without CONNACK: how rumqttd refuses a login
        data += part
    return data
