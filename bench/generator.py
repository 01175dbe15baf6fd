"""Publishes QoS 1 messages from a process of its own, on one bare socket.

    python -m bench.generator '{"port": …, "codes": […], "messages": …, "rate": …}'

Prepared packets are encoded before the clock starts, so that the generator leaves the
two cores to the broker and to what is measured; live ones carry the time at which they
are sent. Prints `{"acked", "began", "seconds", "cpu_s"}`.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DATALOGGERS = 100
WINDOW = 2_000  # unacknowledged at once
CHUNK = 200  # packets a send, at most
LATEST_S = 0.01  # of packets sent together: a hundredth of a second's worth
_PUBACK_BYTES = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """What to publish.

    Args:
        port: of the broker on loopback.
        codes: of the sites, which take turns.
        messages: in all.
        rate: messages a second.
        login: name and password, or empty.
        dataloggers: of each site, which take turns as well.
        live: each message says when it was sent (for latencies).
        name: what topics and the client id are named after.
    """

    port: int
    codes: list[str]
    messages: int
    rate: float
    login: list[str] = field(default_factory=list)
    dataloggers: int = DATALOGGERS
    live: bool = False
    name: str = "bench"


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    packets = _live(plan) if plan.live else _prepared(plan)
    with connect(plan.port, f"generator-{plan.name}", plan.login) as link:
        began, cpu = time.time(), os.times()
        acked = pump(link, packets, plan)
        used = os.times()
    json.dump(
        {
            "acked": acked,
            "began": began,
            "seconds": time.time() - began,
            "cpu_s": used.user + used.system - cpu.user - cpu.system,
        },
        sys.stdout,
    )


def _prepared(plan: Plan) -> Callable[[int, int], bytes]:
    base = time.time() - 60
    packets = [_packet(plan, n, base + n * 1e-5) for n in range(plan.messages)]
    return lambda start, end: b"".join(packets[start:end])


def _live(plan: Plan) -> Callable[[int, int], bytes]:
    return lambda start, end: b"".join(
        [_packet(plan, n, time.time()) for n in range(start, end)]
    )


def _packet(plan: Plan, n: int, at: float) -> bytes:
    """Return a whole PUBLISH with two values; no two have the same device time."""
    code = plan.codes[n % len(plan.codes)]
    logger = n // len(plan.codes) % plan.dataloggers
    topic = f"{code}/datalogger/{plan.name}/{logger}/data".encode()
    values = f'{{"t_ext": {20 + n % 100 / 10}, "hum": {n % 100}}}'
    payload = f'{{"ts": {at:.6f}, "values": {values}}}'.encode()
    body = struct.pack("!H", len(topic)) + topic
    body += struct.pack("!H", n % 65_535 + 1) + payload
    return b"\x32" + length(len(body)) + body


def connect(port: int, client_id: str, login: Sequence[str]) -> socket.socket:
    """Open a clean session of MQTT 3.1.1; an older one of that client id ends."""
    flags = 0x02 | (0xC0 if login else 0)
    payload = b"".join(text(part) for part in (client_id, *login))
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack("!H", 600) + payload
    link = socket.create_connection(("127.0.0.1", port), 10)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(b"\x10" + length(len(body)) + body)
    answer = link.recv(4)
    if answer[3:4] != b"\x00":
        message = f"the broker refused {client_id}: {answer!r}"
        raise SystemExit(message)
    return link


def pump(link: socket.socket, packets: Callable[[int, int], bytes], plan: Plan) -> int:
    """Send everything at the rate, at most WINDOW unacknowledged; return the PUBACKs.

    Without a rate the broker's queue would grow to the whole run, and its upkeep would
    be measured instead.
    """
    link.settimeout(120)
    chunk = max(1, min(CHUNK, int(plan.rate * LATEST_S)))
    sent = received = 0
    started = time.monotonic()
    while received < plan.messages * _PUBACK_BYTES:
        while sent < plan.messages and sent - received // _PUBACK_BYTES < WINDOW:
            time.sleep(max(0.0, started + sent / plan.rate - time.monotonic()))
            end = min(sent + chunk, plan.messages)
            link.sendall(packets(sent, end))
            sent = end
        data = link.recv(65_536)
        if not data:
            message = "the broker closed the generator's connection"
            raise SystemExit(message)
        received += len(data)
    return received // _PUBACK_BYTES


def text(value: str) -> bytes:
    return struct.pack("!H", len(value)) + value.encode()


def length(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, digit = divmod(size, 128)
        encoded.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(encoded)


if __name__ == "__main__":
    main()
