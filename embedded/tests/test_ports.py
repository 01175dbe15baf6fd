from __future__ import annotations

import socket
from pathlib import Path

import pytest

from embedded import ports


def test_free_ports_are_free_and_different():
    found = ports.free_ports(20)

    assert len(set(found)) == 20
    assert all(ports.why_taken(port) is None for port in found)


def test_a_port_that_was_given_is_not_given_again_though_nobody_listens_yet(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(ports, "_given", set())
    monkeypatch.setattr(ports, "_share", (0, 1))  # however many run beside us
    monkeypatch.setattr(ports, "_ephemeral_start", lambda: ports.LOWEST + 100)

    found = [ports.free_port() for _ in range(20)]

    assert len(set(found)) == 20


def test_processes_that_keep_to_their_shares_never_give_the_same_port(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(ports, "_ephemeral_start", lambda: ports.LOWEST + 300)
    shares = []
    for number in range(3):
        monkeypatch.setattr(ports, "_given", set())
        monkeypatch.setattr(ports, "_share", (0, 1))
        ports.keep_to_share(number, 3)
        shares.append(set(ports.free_ports(50)))

    assert len(set.union(*shares)) == 150


def test_free_ports_are_not_those_of_outgoing_connections():
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if low <= ports.LOWEST + 1000:
        pytest.skip("this machine gives all ports to outgoing connections")

    assert all(port < low for port in ports.free_ports(50))


def test_a_listening_port_is_taken():
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]

        assert ports.why_taken(port) == "is already in use"


def test_an_address_of_another_machine_cannot_be_used():
    assert "no such address" in str(ports.why_taken(0, host="192.0.2.1"))
