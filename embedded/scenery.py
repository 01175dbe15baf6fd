"""Sees to it that every page of the demo has something to show, over its API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from embedded.errors import DevError
from embedded.pictures import Subjects
from embedded.ports import free_port

WAIT_S = 90.0  # alerts are looked for every 30 s
POLL_S = 0.5
CODE = "site_001"
STRANGE = {"v": 9, "at": "2026-11-21T09:00:00Z", "temp": {"value": 21.4, "unit": "C"}}
STRANGER = {"wind": {"speed": 3.4, "gust": 7.9}, "rain": 0.2, "ok": True}


Answer = TypeVar("Answer")


class SceneryError(DevError):
    """The demo does not do what it should; the message is one line."""


def prepare(url: str, login: tuple[str, str], say: Callable[[str], None]) -> Subjects:
    """Wait for the demo's devices, and add what they do not do by themselves.

    That is a site in trouble with its alert, one that is stopped, an unknown topic, and
    a message of a version that nobody knows.

    Args:
        url: of the running system.
        login: the superuser's.
        say: told what is waited for; may raise to end it all.

    Raises:
        SceneryError: something did not come in time.
    """
    with _Api(url, login) as api:
        _add_sites(api)
        say("waiting for the demo's devices")
        site = _until(lambda: _connected(api), "connection of the demo")
        _until(lambda: _speaking(api, site), "values of the demo")
        _add_messages(api, site)
        _until(lambda: api.get(f"mqtt/sites/{site}/topics/")["count"], "unknown topic")
        say("waiting for an alert")
        _until(lambda: api.get("mqtt/alerts/?open=true")["count"], "alert")
        return _subjects(api, site)


class _Api:
    def __init__(self, url: str, login: tuple[str, str]) -> None:
        self._client = httpx.Client(
            base_url=f"{url}api/v1/", timeout=30, trust_env=False
        )
        user, password = login
        body = {"username": user, "password": password}
        token = self.post("auth/token/", body)["access"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> _Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str) -> Any:  # noqa: ANN401 (JSON)
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        return self._ask("POST", path, json=body)

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self._ask("PATCH", path, json=body)

    def _ask(self, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401
        try:
            answer = self._client.request(method, path, **body)
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            message = f"{method} {path}: {str(error).splitlines()[0]}"
            raise SceneryError(message) from error


def _add_sites(api: _Api) -> None:
    """One that cannot reach its broker, and one that nobody has started."""
    broken = api.post("sites/", {"name": "Serra di Ravenna"})["id"]
    broker = {"broker_host": "127.0.0.1", "broker_port": free_port()}
    api.patch(f"mqtt/sites/{broken}/connection/", broker)
    api.post(f"mqtt/sites/{broken}/start/", {})
    stopped = api.post("sites/", {"name": "Deposito di Verona"})["id"]
    api.patch(f"mqtt/sites/{stopped}/connection/", broker)


def _connected(api: _Api) -> int:
    """Return the id of the demo's first site; 0 while one of the demo is away."""
    demo = [site for site in api.get("sites/")["sites"] if site["latitude"]]
    states = [api.get(f"mqtt/sites/{site['id']}/status/")["status"] for site in demo]
    is_up = bool(demo) and set(states) == {"connected"}
    return next(site["id"] for site in demo if site["code"] == CODE) if is_up else 0


def _speaking(api: _Api, site: int) -> bool:
    devices = api.get(f"mqtt/dataloggers/?site_id={site}&online_only=true")
    return len(devices["dataloggers"]) >= 2  # noqa: PLR2004 (the third may be silent)


def _add_messages(api: _Api, site: int) -> None:
    """Publish what our own connection receives in turn."""
    api.post(f"mqtt/sites/{site}/discover/", {"duration_s": 600})
    for topic, message in (
        ("datalogger/monstro/17/data", STRANGE),
        ("weather/roof", STRANGER),
    ):
        body = {"topic": f"{CODE}/{topic}", "message": json.dumps(message)}
        api.post(f"mqtt/sites/{site}/publish/", body)


def _subjects(api: _Api, site: int) -> Subjects:
    devices = api.get(f"mqtt/dataloggers/?site_id={site}")["dataloggers"]
    live = next(each["id"] for each in devices if each["serial_number"])
    old = next(each["id"] for each in devices if not each["serial_number"])
    sensors = api.get(f"mqtt/sensors/by_datalogger?datalogger_id={old}")["sensors"]
    return Subjects(site, live, sensors[0]["id"])


def _until(ask: Callable[[], Answer], what: str) -> Answer:
    end = time.monotonic() + WAIT_S
    while not (answer := ask()):
        if time.monotonic() > end:
            message = f"no {what} within {WAIT_S:g} s"
            raise SceneryError(message)
        time.sleep(POLL_S)
    return answer
