"""Picks and checks TCP ports."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
LOWEST = 10_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_given: set[int] = set()  # by this process; perhaps nobody listens there yet
_share = (0, 1)  # of all ports, which part is ours


def keep_to_share(number: int, count: int) -> None:
    """Give only ports that no other of `count` processes gives.

    A port that was given there looks free until somebody listens on it.
    """
    global _share
    _share = (number, count)


def free_ports(count: int, *, host: str = LOOPBACK) -> list[int]:
    """Ports nobody listens on, all different, each given once by a process.

    They lie below the range the kernel takes for outgoing connections: a client that
    keeps trying to reach a stopped server could otherwise be given the server's own
    port (and on loopback even connect to itself), so that the server cannot restart.

    Raises:
        OSError: not enough free ports.
    """
    found: list[int] = []
    # Random, because several test runs on one machine look at the same time.
    for port in _shuffled(LOWEST, _ephemeral_start()):
        if port not in _given and why_taken(port, host=host) is None:
            _given.add(port)
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(errno.EADDRNOTAVAIL, "no free port")


def free_port(*, host: str = LOOPBACK) -> int:
    return free_ports(1, host=host)[0]


def why_taken(port: int, *, host: str = LOOPBACK) -> str | None:
    """Why a server could not listen there, in a few words; None when it could."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        return f"cannot be used: {error.strerror}"
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the servers do: connections in TIME_WAIT do not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return _words(error)
    return None


def _words(error: OSError) -> str:
    known = {
        errno.EADDRINUSE: "is already in use",
        errno.EACCES: "is reserved for root",
        errno.EADDRNOTAVAIL: "cannot be used: no such address on this machine",
    }
    return known.get(error.errno or 0) or f"cannot be used: {error.strerror}"


def _ephemeral_start() -> int:
    try:
        low = int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        low = 0
    # A machine that gives everything to outgoing connections leaves us no quiet range.
    return low if low > LOWEST + 1000 else 32_768


def _shuffled(low: int, high: int) -> list[int]:
    number, count = _share
    ports = list(range(low + number, high, count))
    random.SystemRandom().shuffle(ports)
    return ports
