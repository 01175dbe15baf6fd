"""Browsers as far as streams go: opens many, notes when events come, in one process.

    python -m bench.listener URL TOKEN SITE [SITE ...]

Says "ready" when all streams are open. At SIGTERM it prints a line for each
`telemetry` event: when it came (µs) and its values as (sensor id, time in µs).
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from datetime import datetime
from urllib.parse import urlsplit

ARRIVED: list[tuple[int, bytes]] = []


async def main() -> None:
    url, token, sites = sys.argv[1], sys.argv[2], sys.argv[3:]
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    readers = [await open_stream(url, token, site) for site in sites]
    tasks = [asyncio.create_task(listen(reader)) for reader in readers]
    print("ready", flush=True)
    await end.wait()
    for task in tasks:
        task.cancel()
    for arrived_us, data in ARRIVED:
        values = json.loads(data).get("values", ())
        told = [(value["sensor_id"], _us(value["at"])) for value in values]
        print(json.dumps((arrived_us, told)))


async def open_stream(url: str, token: str, site: str) -> asyncio.StreamReader:
    """Open a site's stream; returns when its first event is there."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port, limit=16 * 1024 * 1024
    )
    request = (
        f"GET /events/sites/{site}/ HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
    )
    writer.write(request.encode())
    status = await reader.readline()
    if b" 200 " not in status:
        message = f"no stream: {status!r}"
        raise SystemExit(message)
    while (await reader.readline()).strip():
        pass
    reader.kept = writer  # type: ignore[attr-defined]  # else it is closed
    return reader


async def listen(reader: asyncio.StreamReader) -> None:
    """Note every `telemetry` event; chunk sizes are lines that say nothing to us."""
    event = b""
    while line := await reader.readline():
        if line.startswith(b"event:"):
            event = line[6:].strip()
        elif line.startswith(b"data:") and event == b"telemetry":
            ARRIVED.append((time.time_ns() // 1_000, line[5:]))


def _us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


if __name__ == "__main__":
    asyncio.run(main())
