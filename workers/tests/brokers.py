"""Real brokers on loopback: mosquitto with TLS, and a supervisor to reach them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from embedded.broker import Broker
from embedded.mosquitto import mosquitto_binary
from embedded.ports import free_port
from workers.inbox import Inboxes
from workers.snapshot import Snapshot
from workers.spec import ConnectionSpec
from workers.supervisor import Supervisor
from workers.tests.certificates import Signed, authority

PATIENCE_S = 20.0

needs_mosquitto = pytest.mark.skipif(
    mosquitto_binary() is None, reason="only mosquitto speaks TLS here"
)


@contextmanager
def tls_broker(
    folder: Path, server: Signed, *, demands_client: bool = False, extra: str = ""
) -> Iterator[int]:
    """Run mosquitto with this certificate; yield its TLS port."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("ca.pem", authority("Test CA").pem),
        ("server.pem", server.pem),
        ("server.key", server.key_pem),
    ):
        Path(folder, name).write_text(text)
    port = free_port()
    config = (
        f"listener {port} 127.0.0.1\n"
        f"cafile {folder}/ca.pem\ncertfile {folder}/server.pem\n"
        f"keyfile {folder}/server.key\n"
        f"require_certificate {'true' if demands_client else 'false'}\n{extra}"
    )
    with Broker(folder / "broker", kind="mosquitto", extra_config=config):
        yield port


class Running:
    """A supervisor with one connection, and what it reports."""

    def __init__(self, supervisor: Supervisor, inboxes: Inboxes) -> None:
        self.supervisor = supervisor
        self.inboxes = inboxes
        self.snapshots: list[Snapshot] = []

    def ensure(self, spec: ConnectionSpec) -> None:
        self.supervisor.ensure(spec)


def until(check: Callable[[], Any], words: Callable[[], str]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (answer := check()):
        assert time.monotonic() < end, words()
        time.sleep(0.01)
    return answer


@contextmanager
def running() -> Iterator[Running]:
    inboxes = Inboxes(1)
    box: list[Running] = []
    supervisor = Supervisor(
        inboxes,
        lambda snapshot: box[0].snapshots.append(snapshot),
        lambda _: None,
    )
    box.append(Running(supervisor, inboxes))
    thread = threading.Thread(target=supervisor.run, name="test-network")
    thread.start()
    try:
        yield box[0]
    finally:
        supervisor.stop(10)
        thread.join(10)
