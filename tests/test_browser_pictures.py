"""The pictures of `dev.py screenshots`, taken of a running system."""

from __future__ import annotations

import struct

import pytest

from embedded.chromium import HOW_TO_GET, chromium_path
from embedded.pictures import LOOKS, Shot, take
from tests.system import ADMIN

pytestmark = pytest.mark.system

PNG = b"\x89PNG\r\n\x1a\n"


def test_it_takes_each_page_in_each_look(system, tmp_path):
    chromium = chromium_path()
    if chromium is None:
        pytest.skip(HOW_TO_GET)
    system.make_site("Pictured", 1)
    looks = [look for look in LOOKS if look.name in ("phone-light-it", "wide-dark-en")]
    shots = [
        Shot("overview", "/", "[data-site-id]"),
        Shot("alerts", "/alerts/"),  # not in Italian
        Shot("login", "/login/", "main form", is_public=True),
    ]
    said: list[str] = []

    count = take(
        f"{system.url}/",
        ADMIN,
        shots,
        chromium=chromium,
        folder=tmp_path,
        looks=looks,
        say=said.append,
    )

    heads = {path.stem: path.read_bytes()[:24] for path in tmp_path.iterdir()}
    assert count == 5
    assert set(heads) == {
        *("overview-phone-light-it", "login-phone-light-it"),
        *("overview-wide-dark-en", "alerts-wide-dark-en", "login-wide-dark-en"),
    }
    assert all(head.startswith(PNG) for head in heads.values())
    widths = {name: struct.unpack(">I", head[16:20])[0] for name, head in heads.items()}
    assert widths["overview-phone-light-it"] == 390
    assert widths["overview-wide-dark-en"] == 1280
    assert said == [
        "phone-light-it: overview, login",
        "wide-dark-en: overview, alerts, login",
    ]
