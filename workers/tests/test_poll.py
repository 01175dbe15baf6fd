"""Descriptors are numbers that the kernel gives out again."""

from __future__ import annotations

import os
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
    gone = link_on(ours)
    poll.add(gone)
    poll.pause(gone, 0.0)
    number = ours.fileno()
    again, theirs_again = socket.socketpair()
    os.dup2(again.fileno(), number)  # closes what was there
    ours.detach()
    theirs.close()
    again.close()
    ours, theirs = socket.socket(fileno=number), theirs_again
    successor = link_on(ours)

    poll.add(successor)
    theirs.send(b"x")

    assert poll.wait(5) == [(successor, READ)]
    assert poll.paused() == []
    ours.close()
    theirs.close()
