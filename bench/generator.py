"""Publishes QoS 1 messages at a rate that one socket can take.

    python -m bench.generator PORT CODES MESSAGES RATE [LOGIN PASSWORD]

The packets are encoded before the clock starts, so that the generator leaves the two
cores to the broker and to what is measured. Prints `{"acked", "seconds"}`.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

WINDOW = 2_000  # unacknowledged at once
DATALOGGERS = 100
CHUNK = 200  # packets a send
_PUBACK_BYTES = 4


def main() -> None:
    port, codes = int(sys.argv[1]), sys.argv[2].split(",")
    messages, rate = int(sys.argv[3]), float(sys.argv[4])
    login = (sys.argv[5], sys.argv[6]) if len(sys.argv) > 6 else None
    packets = encode(codes, messages)
    with connect(port, login) as link:
        started = time.time()
        acked = pump(link, packets, rate)
        json.dump({"acked": acked, "seconds": time.time() - started}, sys.stdout)


def encode(codes: list[str], messages: int) -> list[bytes]:
    """Return whole PUBLISH packets, two values each, device times all different."""
    base = time.time() - 60
    packets = []
    for n in range(messages):
        code = codes[n % len(codes)]
        topic = f"{code}/datalogger/bench/{n // len(codes) % DATALOGGERS}/data".encode()
        values = f'{{"t_ext": {20 + n % 100 / 10}, "hum": {n % 100}}}'
        payload = f'{{"ts": {base + n * 1e-5:.6f}, "values": {values}}}'.encode()
        body = struct.pack("!H", len(topic)) + topic
        body += struct.pack("!H", n % 65_535 + 1) + payload
        packets.append(b"\x32" + length(len(body)) + body)
    return packets


def connect(port: int, login: tuple[str, str] | None) -> socket.socket:
    flags = 0x02 | (0xC0 if login else 0)
    payload = text("bench-generator") + b"".join(text(part) for part in login or ())
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack("!H", 600) + payload
    link = socket.create_connection(("127.0.0.1", port), 10)
    link.sendall(b"\x10" + length(len(body)) + body)
    answer = link.recv(4)
    if answer[3:4] != b"\x00":
        message = f"the broker refused the generator: {answer!r}"
        raise SystemExit(message)
    return link


def pump(link: socket.socket, packets: list[bytes], rate: float) -> int:
    """Send everything at the rate, at most WINDOW unacknowledged; return the PUBACKs.

    Without a rate the broker's queue would grow to the whole run, and its upkeep would
    be measured instead.
    """
    link.settimeout(120)
    sent = received = 0
    started = time.monotonic()
    while received < len(packets) * _PUBACK_BYTES:
        while sent < len(packets) and sent - received // _PUBACK_BYTES < WINDOW:
            time.sleep(max(0.0, started + sent / rate - time.monotonic()))
            link.sendall(b"".join(packets[sent : sent + CHUNK]))
            sent = min(sent + CHUNK, len(packets))
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
