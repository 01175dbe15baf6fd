"""`dev.py check`: every static check, all of them even when one fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from embedded.environment import new_secrets, process_environ, without_settings

MANAGE = ("python", "manage.py")
CHECKS: dict[str, tuple[str, ...]] = {
    "format": ("ruff", "format", "--check", "."),
    "lint": ("ruff", "check", "."),
    "types": ("mypy", "."),
    "imports": ("lint-imports",),
    "migrations": (*MANAGE, "makemigrations", "--check", "--dry-run"),
    "deploy": (*MANAGE, "check", "--deploy", "--fail-level", "WARNING"),
}


def run_checks(root: Path) -> int:
    """Run all checks and print a summary; returns 1 when any failed."""
    environ = process_environ(root, without_settings(root, os.environ), _variables())
    results = {name: _run(root, name, environ) for name in CHECKS}
    print("\n" + "-" * 40)
    for name, (code, took_s) in results.items():
        print(f"{'ok' if code == 0 else 'FAILED':<7} {name:<11} {took_s:6.1f} s")
    return 1 if any(code for code, _ in results.values()) else 0


def _run(root: Path, name: str, environ: dict[str, str]) -> tuple[int, float]:
    command = CHECKS[name]
    print(f"\n== {name}: {' '.join(command)}", flush=True)
    began = time.monotonic()
    # Programs by their full path, so that nobody's PATH decides which one runs.
    binary = Path(sys.executable).with_name(command[0])
    try:
        done = subprocess.run(
            [str(binary), *command[1:]],
            check=False,
            cwd=root,
            env=environ,
            stdin=subprocess.DEVNULL,
        )
        code = done.returncode
    except OSError as error:
        print(f"cannot run {binary}: {error.strerror}")
        code = 1
    return code, time.monotonic() - began


def _variables() -> dict[str, str]:
    """Settings as an installation would have them; nothing is ever connected to."""
    made = new_secrets()
    return {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DATABASE_URL": "postgres://check:check@127.0.0.1:1/check",
        "REDIS_URL": "redis://:check@127.0.0.1:1/0",
        "SECRET_KEY": made["SECRET_KEY"],
        "FIELD_ENCRYPTION_KEYS": made["FIELD_ENCRYPTION_KEYS"],
        "ALLOWED_HOSTS": "guardiano.example",
        "HTTPS_ONLY": "true",
        # Where the migrations check looks for a database it says so, and goes on.
        "PYTHONWARNINGS": "ignore:Got an error checking a consistent migration",
    }
