"""Streams of a real web process, while the Redis behind it goes away and returns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings as project_settings
from django.contrib.auth.models import User
from django.db import connection
from pytest_django.fixtures import Settings
from rest_framework_simplejwt.tokens import AccessToken

from apps.core import events
from apps.core.tests.streaming import EventClient, Received, own_valkey, wait_for
from apps.sites.models import Site
from embedded.ports import LOOPBACK, free_port, why_taken
from embedded.valkey import Valkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.system]

RESYNC = Received("resync", {})
AWAY = Received("away", {})


@pytest.fixture
def valkey(settings: Settings, tmp_path: Path) -> Iterator[Valkey]:
    with own_valkey(settings, tmp_path) as valkey:
        yield valkey


class Web:
    """The web process, started as the Procfile does."""

    def __init__(self, redis_url: str, log: Path) -> None:
        self.port = free_port()
        self.log = log
        self.said_before = 0  # characters of its log, from before the test
        command = [sys.executable, "-m", "uvicorn", "project.asgi:application"]
        options = ["--port", str(self.port), "--timeout-graceful-shutdown", "40"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *options],
                cwd=project_settings.BASE_DIR,
                env=os.environ
                | {"DATABASE_URL": _test_database_url(), "REDIS_URL": redis_url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def hears(self) -> bool:
        """Whether it is subscribed; a stream does not wait long for its first try."""
        person = User.objects.create_user("somebody")
        try:
            with EventClient(
                self.port, "/events/status/", headers_of(person)
            ) as client:
                return client.all(during=0.1) == []
        finally:
            person.delete()

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


def _test_database_url() -> str:
    now = connection.settings_dict
    user, password = quote(str(now["USER"]), ""), quote(str(now["PASSWORD"]), "")
    host, port = quote(str(now["HOST"]), ""), now["PORT"] or 5432
    return f"postgres://{user}:{password}@{host}:{port}/{now['NAME']}"


@pytest.fixture
def web(valkey: Valkey, tmp_path: Path) -> Iterator[Web]:
    web = Web(valkey.url, tmp_path / "web.log")
    try:
        wait_for(lambda: why_taken(web.port, host=LOOPBACK), within=60)
        wait_for(web.hears)
        web.said_before = len(web.log.read_text())
        yield web
    finally:
        with suppress(ProcessLookupError):
            web.process.kill()
        web.process.wait()


def headers_of(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {AccessToken.for_user(user)}"}


def test_a_stream_survives_twelve_seconds_without_redis(
    web: Web, valkey: Valkey, north: Site, viewer: User
) -> None:
    channel = [events.site_channel(north.pk)]
    path = f"/events/sites/{north.pk}/"
    with EventClient(web.port, path, headers_of(viewer)) as early:
        assert events.emit(channel, "telemetry", {"seq": 1})
        assert early.next() == Received("telemetry", {"seq": 1})

        valkey.stop()
        assert early.all(during=6) == [AWAY]
        assert not events.emit(channel, "telemetry", {"seq": 2})
        with EventClient(web.port, path, headers_of(viewer)) as late:
            assert late.all(during=6) == [AWAY]
            valkey.start()

            assert early.next() == late.next() == RESYNC
            assert events.emit(channel, "telemetry", {"seq": 3})
            assert early.next() == late.next() == Received("telemetry", {"seq": 3})
            assert early.all(during=1) == late.all(during=0) == []

    log = web.log.read_text()[web.said_before :]
    assert log.count("events are not heard") == 1
    assert log.count("events are heard again") == 1
    assert "Traceback" not in log


def test_a_stream_survives_a_redis_that_hangs(
    web: Web, valkey: Valkey, viewer: User
) -> None:
    with EventClient(web.port, "/events/status/", headers_of(viewer)) as client:
        valkey.freeze()
        assert client.all(during=10) == [AWAY]
        valkey.thaw()

        assert client.next() == RESYNC
        assert events.emit([events.STATUS_FOR_ALL], "status", {"n": 1})
        assert client.next() == Received("status", {"n": 1})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_at_once_with_streams_open(
    number: signal.Signals, web: Web, viewer: User
) -> None:
    headers = headers_of(viewer)
    with (
        EventClient(web.port, "/events/status/", headers) as one,
        EventClient(web.port, "/events/status/", headers) as two,
    ):
        web.process.send_signal(number)

        # Below --timeout-graceful-shutdown: it was not cut.
        web.process.wait(timeout=30)
        wait_for(lambda: not one.is_open and not two.is_open)
    assert "Traceback" not in web.log.read_text()


def test_sixty_streams_need_few_threads_of_the_process(web: Web, viewer: User) -> None:
    headers = headers_of(viewer)
    clients = [EventClient(web.port, "/events/status/", headers) for _ in range(60)]
    with clients[0]:
        before = web.threads()
        for client in clients[1:]:
            client.__enter__()
        try:
            assert web.threads() <= before + 1
        finally:
            for client in clients[1:]:
                client.__exit__()
