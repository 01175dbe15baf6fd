"""Descriptors are numbers that the kernel gives out again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workers.link import Link
from workers.poll import READ, LinkPoll


@pytest.fixture
def poll() -> Iterator[LinkPoll]:
    poll = LinkPoll()
    yield poll
    poll.close()


def link_on(sock: socket.socket) -> Link:
    link: Any = SimpleNamespace(fd=sock.fileno(), wants_write=False)
    return cast("Link", link)


def test_a_link_that_closed_without_a_word_leaves_no_trace(poll):
    """Its number is the next socket's, which would never have been watched."""
    ours, theirs = socket.socketpair()
    poll.add(link_on(ours))
    poll.pause(link_on(ours), 0.0)
    number = ours.fileno()
    ours.close()
    theirs.close()
    again, other = socket.socketpair()
    assert number in (again.fileno(), other.fileno())
    ours, theirs = (again, other) if again.fileno() == number else (other, again)
    successor = link_on(ours)

    poll.add(successor)
    theirs.send(b"x")

    assert poll.wait(5) == [(successor, READ)]
    assert poll.paused() == []
    ours.close()
    theirs.close()
