"""The commands that left for the workers, without a Redis to take them."""

from __future__ import annotations

import celery
import pytest


class Sent:
    """Notes (task, site id, queue) of every command; `options` of the last one."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, int, str]] = []
        self.options: dict[str, object] = {}

    def send_task(self, name: str, *, args, queue, **options) -> None:
        self.commands.append((name.rpartition(".")[2], args[0], queue))
        self.options = {"args": args, "queue": queue} | options

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.commands]


def catch_commands(monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent = Sent()
    monkeypatch.setattr(celery.current_app, "send_task", sent.send_task)
    return sent
