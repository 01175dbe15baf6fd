"""Channels, troubles and a receiver of webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.utils import timezone

from apps.alerts.models import AlertChannel
from apps.devices.models import Datalogger, Gateway
from apps.sites.models import MqttConnection, Site, Status
from apps.sites.services import change_status

SECRET = "canary-secret-77"


def email_channel(**fields: Any) -> AlertChannel:
    known = {"kind": "email", "name": "Duty", "target": "duty@example.com"}
    return AlertChannel.objects.create(**(known | fields))


def webhook_channel(url: str, **fields: Any) -> AlertChannel:
    channel = AlertChannel(kind="webhook", name="Hook", target=url, **fields)
    channel.set_secret(SECRET)
    channel.save()
    return channel


def set_status(
    row: MqttConnection, status: Status, *, ago_s: float = 0, reason: str = ""
) -> None:
    """Give a connection a status, as if that had been so long ago."""
    change_status(row, status=status, reason=reason)  # type: ignore[arg-type]
    at = timezone.now() - timedelta(seconds=ago_s)
    fields: dict[str, Any] = {"status_changed_at": at}
    if status == Status.CONNECTED:
        fields["last_connected_at"] = at
    MqttConnection.objects.filter(pk=row.pk).update(**fields)
    row.refresh_from_db()
    event = row.events.order_by("-pk").first()
    assert event is not None
    row.events.filter(pk=event.pk).update(at=at)
    # What went before, such as the start, was before.
    row.events.filter(pk__lt=event.pk, at__gte=at).update(at=at - timedelta(hours=1))


def datalogger(site: Site, number: str = "1", **fields: Any) -> Datalogger:
    return Datalogger.objects.create(
        site=site, type="monstro", number=number, **(_online() | fields)
    )


def gateway(site: Site, number: str = "1", **fields: Any) -> Gateway:
    return Gateway.objects.create(site=site, number=number, **(_online() | fields))


def _online() -> dict[str, Any]:
    now = timezone.now()
    return {
        "presence": "online",
        "presence_since": now - timedelta(days=1),
        "offline_after": now + timedelta(seconds=90),
    }


def offline(row: Datalogger | Gateway, *, ago_s: float, cause: str = "silence") -> None:
    row.presence, row.offline_cause = "offline", cause
    row.presence_since = timezone.now() - timedelta(seconds=ago_s)
    row.save()


def online(row: Datalogger | Gateway, *, ago_s: float) -> None:
    row.presence, row.offline_cause = "online", ""
    row.presence_since = timezone.now() - timedelta(seconds=ago_s)
    row.save()


def later(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


@dataclass
class Receiver:
    """What a webhook got; `answer` and `delay_s` say how it behaves."""

    url: str = ""
    answer: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip: bool = False
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def is_signed(self, place: int = -1) -> bool:
        headers, body = self.got[place]
        stamp = headers["X-Guardiano-Timestamp"]
        signed = stamp.encode() + b"." + body
        wanted = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        is_fresh = abs(time.time() - int(stamp)) < 60
        return headers["X-Guardiano-Signature"] == f"sha256={wanted}" and is_fresh


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port of this machine."""
    told = Receiver()
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.got.append((dict(self.headers), body))
            ending.wait(told.delay_s)
            try:
                if told.drip:
                    self._drip()
                self.send_response(told.answer)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                self.end_headers()
            except OSError:
                return  # the sender did not wait

        def _drip(self) -> None:
            while not ending.wait(0.05):
                self.wfile.write(b"H")
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}/hook?key=canary-path"
    try:
        yield told
    finally:
        ending.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
