"""Where the machine's chromium is; Playwright only drives it, and brings none here."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_GET = "no chromium on PATH: apt-get install chromium"


def chromium_path() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def chromium_arguments() -> list[str]:
    # Its sandbox refuses root.
    return ["--no-sandbox"] if os.geteuid() == 0 else []
