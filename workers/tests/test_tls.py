"""TLS against a real broker: whom we trust, as whom we come, and what we say if not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers import dialing
from workers.spec import ConnectionSpec, Tls
from workers.tests.brokers import needs_mosquitto, running, tls_broker, until
from workers.tests.certificates import authority, issue
from workers.tests.fakes import a_spec

NAMES = ("broker.test", "127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("tls")
    with tls_broker(folder, issue(*NAMES)) as port:
        yield port


@pytest.fixture(scope="module")
def strict_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A broker that wants to see our certificate and takes our name from it."""
    folder = tmp_path_factory.mktemp("mutual")
    with tls_broker(folder, issue(*NAMES), demands_client=True) as port:
        yield port


def spec(port: int, tls: Tls | None, **but: object) -> ConnectionSpec:
    but = {"host": "127.0.0.1", "username": "", "password": "", **but}
    return a_spec(port=port, tls=tls, **but)


def trust(ca: str = "Test CA", *, name: str = "", client: str = "") -> Tls:
    ours = issue(client) if client else None
    return Tls(
        ca=authority(ca).pem,
        client_cert=ours.pem if ours else "",
        client_key=ours.key_pem if ours else "",
        server_name=name,
    )


def outcome(wanted: ConnectionSpec) -> tuple[str, str, str]:
    with running() as world:
        world.ensure(wanted)
        good = "connected"

        def settled() -> object:
            said = [s for s in world.snapshots if s.status in (good, "error")]
            return said[0] if said else None

        seen = until(settled, lambda: str(world.snapshots))
        return seen.status, seen.reason, seen.detail


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_the_right_authority_connects(port, protocol):
    assert outcome(spec(port, trust(), protocol=protocol))[0] == "connected"


@needs_mosquitto
def test_a_server_name_is_asked_for_and_checked_instead_of_the_host(port):
    assert outcome(spec(port, trust(name="broker.test")))[0] == "connected"


@needs_mosquitto
@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (trust("Other CA"), "certificate"),
        (trust(name="other.test"), "not valid for 'other.test'"),
        (Tls("", "", "", ""), "certificate"),
    ],
    ids=["other authority", "other name", "the system's authorities"],
)
def test_a_certificate_that_is_not_trusted_is_a_fault_of_tls(port, tls, words):
    status, reason, detail = outcome(spec(port, tls))

    assert (status, reason) == ("error", "tls")
    assert words in detail
    assert "_ssl.c" not in detail


@needs_mosquitto
def test_an_expired_certificate_is_a_fault_of_tls(tmp_path):
    with tls_broker(tmp_path, issue("127.0.0.1", days=-3)) as port:
        status, reason, detail = outcome(spec(port, trust()))

    assert (status, reason) == ("error", "tls")
    assert "expired" in detail


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_our_certificate_lets_us_in(strict_port, protocol):
    wanted = spec(strict_port, trust(client="guardiano"), protocol=protocol)

    assert outcome(wanted) == ("connected", "", "")


@needs_mosquitto
def test_a_client_certificate_that_is_missing_is_a_fault_of_tls(strict_port):
    """In TLS 1.3 the broker says so after the handshake; paho drops what it says."""
    status, reason, detail = outcome(spec(strict_port, trust()))

    assert (status, reason) == ("error", "tls")
    assert "certificate" in detail


@needs_mosquitto
def test_a_port_without_tls_is_a_fault_of_tls(tmp_path):
    from embedded.broker import Broker

    with Broker(tmp_path, kind="mosquitto") as broker:
        status, reason, _ = outcome(spec(broker.port, trust()))

    assert (status, reason) == ("error", "tls")


@pytest.mark.parametrize("manner", ["silent", "trickling"])
def test_a_handshake_that_does_not_end_is_given_up_within_ten_seconds(
    manner, monkeypatch
):
    monkeypatch.setattr(dialing, "TLS_TIMEOUT_S", 1.0)
    server = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(10_000)
            # A handshake record of 16 KiB, a byte at a time.
            peer.sendall(b"\x16\x03\x03\x40\x00")
            while manner == "trickling" and not stop.wait(0.05):
                try:
                    peer.sendall(b"\x02")
                except OSError:
                    return
            stop.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        started = time.monotonic()
        wanted = spec(server.getsockname()[1], trust())
        with pytest.raises(dialing.HandshakeTimeoutError):
            dialing.dial(wanted)
        assert time.monotonic() - started < 10
    finally:
        stop.set()
        thread.join(10)
        server.close()


def test_a_host_with_many_dead_addresses_takes_no_longer_than_one(monkeypatch):
    """Each of them used to get five seconds."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    address = server.getsockname()
    fillers = []
    for _ in range(3):  # the queue is full now: further SYNs are dropped
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(address)
        fillers.append(filler)
    time.sleep(0.1)

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        dialing.connect([(socket.AF_INET, address)] * 5, 1.0)

    assert time.monotonic() - started < 10  # of one second
    for sock in (*fillers, server):
        sock.close()


def test_the_next_address_is_tried_when_the_first_refuses():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        closed = socket.create_server(("127.0.0.1", 0))
        dead = closed.getsockname()
        closed.close()

        sock = dialing.connect([(socket.AF_INET, dead), (socket.AF_INET, address)], 5.0)

        assert sock.getpeername() == address
        sock.close()


def test_secrets_are_not_left_in_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)

    dialing.tls_context(trust(client="guardiano"))

    assert list(Path(tmp_path).iterdir()) == []
