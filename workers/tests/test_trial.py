"""A test of a connection: every step against real brokers, and every way to fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from apps.sites.trial_words import words_for
from embedded.broker import Broker
from embedded.ports import free_port
from workers import trial as trial_module
from workers.spec import ConnectionSpec
from workers.tests.brokers import needs_mosquitto, tls_broker
from workers.tests.certificates import issue
from workers.tests.fakes import a_spec
from workers.tests.peers import PUBACK, SUBSCRIBE, Peer, connack, suback
from workers.tests.test_tls import trust
from workers.trial import Trial

NAMES = ["dns", "tcp", "tls", "connack", "suback", "round_trip"]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), users={"anna": "right"}) as running:
        yield running


def spec(port: int, **but: Any) -> ConnectionSpec:
    wanted = {"host": "127.0.0.1", "username": "anna", "password": "right", **but}
    return a_spec(port=port, **wanted)


def run(wanted: ConnectionSpec) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    started = time.monotonic()
    result = Trial(wanted).run()
    assert time.monotonic() - started < 15
    assert [step["name"] for step in result["steps"]] == NAMES
    for step in result["steps"]:
        step["detail"] = words_for(step)
        assert bool(step["detail"]) == (step["ok"] is not None), step
    return result, {step["name"]: step for step in result["steps"]}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_connection_that_works_passes_every_step(broker, protocol):
    port = broker.port if protocol == "3.1.1" else broker.v5_port

    result, steps = run(spec(port, protocol=protocol))

    assert result["ok"]
    assert [step["ok"] for step in result["steps"]] == [True, True, None, *[True] * 3]
    assert steps["dns"]["addresses"] == ["127.0.0.1"]
    assert [one["ok"] for one in steps["suback"]["filters"]] == [True, True]
    assert steps["round_trip"]["topic"] == "site_003/backend/test"


def test_the_running_connection_is_not_touched(broker):
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen: list[bytes] = []

        def serve() -> None:
            peer = Peer(server.accept()[0])
            seen.append(peer.read()[1])
            peer.sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        run(spec(server.getsockname()[1]))
        thread.join(10)

    assert b"site_3_test_test" in seen[0]
    assert seen[0][7] == 0b1100_0010  # user, password, clean session; no will


def test_a_wrong_password_is_said(broker):
    result, steps = run(spec(broker.port, password="wrong"))

    assert not result["ok"]
    assert steps["tcp"]["ok"] is True
    assert steps["connack"]["ok"] is False
    assert "password" in steps["connack"]["detail"]
    assert steps["suback"]["ok"] is None


def test_a_port_where_nothing_listens_is_said():
    port = free_port()

    result, steps = run(spec(port))

    assert not result["ok"]
    assert steps["tcp"]["problem"] == "refused"
    assert str(port) in steps["tcp"]["detail"]


def test_a_host_name_that_does_not_exist_is_said():
    result, steps = run(spec(1883, host="nowhere.invalid"))

    assert not result["ok"]
    assert steps["dns"]["problem"] in ("unknown_host", "dns_timeout")
    assert "nowhere.invalid" in steps["dns"]["detail"]


def test_a_resolver_that_does_not_answer_is_given_up(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(trial_module, "DNS_S", 0.2)
    monkeypatch.setattr(
        "workers.dialing.resolve", lambda host, port: released.wait(30) and []
    )

    _, steps = run(spec(1883))
    released.set()

    assert steps["dns"]["problem"] == "dns_timeout"


def test_settings_that_cannot_be_read_are_said():
    result, steps = run(spec(1883, problem="The stored password cannot be decrypted"))

    assert not result["ok"]
    assert "decrypted" in steps["dns"]["detail"]


# -- brokers that misbehave ----------------------------------------------------


def scripted(*answers: Any, protocol: str = "3.1.1") -> dict[str, dict[str, Any]]:
    """Try a peer that answers each packet of ours with the next of these."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer = Peer(server.accept()[0])
            try:
                for answer in answers:
                    first, body = peer.read()
                    peer.send(answer(first, body) if callable(answer) else answer)
                while True:
                    peer.read()
            except (EOFError, OSError):
                peer.sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        steps = run(spec(server.getsockname()[1], protocol=protocol))[1]
        thread.join(15)
    return steps


def granted(*codes: int) -> Any:
    def answer(first: int, body: bytes) -> bytes:
        assert first & 0xF0 == SUBSCRIBE
        return suback(int.from_bytes(body[:2], "big"), *codes)

    return answer


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TCP_S", "TLS_S", "LOOK_S", "CONNACK_S", "SUBACK_S", "ECHO_S"):
        monkeypatch.setattr(trial_module, name, 12.0)


def test_a_host_that_never_answers_is_no_broker(monkeypatch):
    monkeypatch.setattr(trial_module, "CONNACK_S", 0.5)
    assert scripted()["connack"]["problem"] == "no_connack"


def test_another_service_is_no_broker():
    steps = scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 200)

    assert steps["connack"]["problem"] == "no_mqtt"


@pytest.mark.parametrize(
    ("code", "problem"), [(2, "config"), (3, "refused"), (5, "auth")]
)
def test_each_refusal_has_its_words(code, problem):
    steps = scripted(connack(code))

    assert steps["connack"]["problem"] == f"connack_{problem}"
    assert steps["connack"]["reason"]["code"]


def test_refused_filters_are_told_one_by_one():
    steps = scripted(connack(), granted(0x80, 1))

    assert steps["suback"]["ok"] is False
    assert [one["ok"] for one in steps["suback"]["filters"]] == [False, True]
    assert "1" in steps["suback"]["detail"]
    assert steps["round_trip"]["ok"] is None


def test_a_broker_that_lets_us_only_listen_still_serves_us(monkeypatch):
    monkeypatch.setattr(trial_module, "ECHO_S", 3.0)

    def puback(first: int, body: bytes) -> bytes:
        size = int.from_bytes(body[:2], "big")
        return bytes([PUBACK, 2]) + body[2 + size : 4 + size]

    def unsuback(first: int, body: bytes) -> bytes:
        return b"\xb0\x02" + body[:2]

    with_silence = (connack(), granted(1, 1), unsuback, granted(1), puback)
    steps = scripted(*with_silence)

    assert steps["suback"]["ok"] is True
    assert steps["round_trip"]["problem"] == "no_echo"
    assert "not affected" in steps["round_trip"]["detail"]


@needs_mosquitto
def test_an_acl_that_forbids_the_round_trip_does_not_fail_the_test(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(trial_module, "ECHO_S", 3.0)
    acl = tmp_path / "acl"
    acl.write_text("user anna\ntopic read site_003/#\n")
    with Broker(
        tmp_path / "broker",
        kind="mosquitto",
        users={"anna": "right"},
        extra_config=f"acl_file {acl}",
    ) as strict:
        result, steps = run(spec(strict.port))

    assert result["ok"]
    assert steps["round_trip"]["ok"] is False


def test_a_busy_site_does_not_drown_the_round_trip(broker):
    """Twenty unacknowledged messages fill the window of many brokers."""
    from tests.mqtt import Peer as Publisher

    stop = threading.Event()
    with Publisher(broker.port, login=("anna", "right")) as publisher:

        def flood() -> None:
            n = 0
            while not stop.wait(0.001) and n < 5_000:
                publisher.publish("site_003/datalogger/a/1/data", b"{}" * 50)
                n += 1

        thread = threading.Thread(target=flood)
        thread.start()
        result, steps = run(spec(broker.port))
        stop.set()
        thread.join(10)

    assert steps["round_trip"]["ok"] is True
    assert result["ok"]


# -- TLS -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("tls")
    with tls_broker(folder, issue("127.0.0.1", "broker.test")) as port:
        yield port


def plain(port: int, **but: Any) -> ConnectionSpec:
    return spec(port, username="", password="", **but)


@needs_mosquitto
def test_over_tls_the_certificate_is_told(tls_port):
    result, steps = run(plain(tls_port, tls=trust()))

    assert result["ok"]
    assert steps["tls"]["version"] == "TLSv1.3"
    certificate = steps["tls"]["certificate"]
    assert certificate["subject"] == "CN=127.0.0.1"
    assert certificate["issuer"] == "CN=Test CA"
    assert certificate["days_left"] == 30
    assert certificate["not_after"].endswith("Z")


@needs_mosquitto
@pytest.mark.parametrize(
    ("tls", "problem"),
    [(trust("Other CA"), "unknown_ca"), (trust(name="other.test"), "wrong_name")],
    ids=["other authority", "other name"],
)
def test_a_certificate_that_is_not_trusted_is_shown_all_the_same(
    tls_port, tls, problem
):
    result, steps = run(plain(tls_port, tls=tls))

    assert not result["ok"]
    assert steps["tls"]["problem"] == problem
    assert steps["tls"]["certificate"]["subject"] == "CN=127.0.0.1"
    assert steps["connack"]["ok"] is None


@needs_mosquitto
def test_an_expired_certificate_is_told_with_its_date(tmp_path):
    with tls_broker(tmp_path, issue("127.0.0.1", days=-3)) as port:
        steps = run(plain(port, tls=trust()))[1]

    assert steps["tls"]["problem"] == "expired"
    assert steps["tls"]["certificate"]["days_left"] == -3


@needs_mosquitto
def test_a_client_certificate_that_is_missing_is_told(tmp_path):
    with tls_broker(tmp_path, issue("127.0.0.1"), demands_client=True) as port:
        steps = run(plain(port, tls=trust()))[1]
        allowed = run(plain(port, tls=trust(client="guardiano")))[0]

    assert steps["connack"]["problem"] == "client_certificate"
    assert allowed["ok"]


def test_tls_on_a_port_without_it_is_told(broker):
    steps = run(spec(broker.port, tls=trust()))[1]

    assert steps["tls"]["ok"] is False
    assert steps["tls"]["problem"] in ("no_tls", "handshake_timeout")


def test_no_tls_on_a_port_with_it_is_told(tls_port):
    steps = run(plain(tls_port))[1]

    assert steps["connack"]["ok"] is False
