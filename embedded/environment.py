"""The variables of a system: what the user asked for, what is kept, what is made up."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from embedded import ports
from embedded.errors import DevError
from embedded.server import write_private

BROKER_USER = "guardiano"
INSTANCE_ID = "bfg_back"  # the source documents' name for the demo's backend
HIGHEST_PORT = 65_535
# Of the developer's own shell: they would make our Python find other people's modules.
PYTHON_VARIABLES = ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONSTARTUP")
# Variables that change what the system does, beside those listed in .env.example.
SETTING = re.compile(
    r"(MQTT|DJANGO|ADMIN|FLOWER|LOG|ALERT|EMAIL|METRICS)_.*"
    r"|(DATABASE|REDIS)_URL(_FILE)?|SECRET_KEY(_FILE)?"
    r"|FIELD_ENCRYPTION_KEYS(_FILE)?|ALLOWED_HOSTS|HOST|PORT|LANGUAGE_CODE|DEBUG"
)


class EnvironmentVariableError(DevError):
    """A variable has a wrong value or names a taken port; one line that names it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user's variables ask `up` for.

    `database_url`, `redis_url` and `mqtt_url` are "" when we are to start a server;
    `v5_port` is None when any free port will do.
    """

    host: str
    port: int
    mqtt_port: int
    v5_port: int | None
    flower_port: int
    admin_username: str
    admin_password: str
    database_url: str
    redis_url: str
    mqtt_url: str

    @property
    def address(self) -> str:
        """Where a client on this machine reaches the web process."""
        everywhere = {"0.0.0.0": ports.LOOPBACK, "::": "::1", "": ports.LOOPBACK}  # noqa: S104 - a comparison
        return everywhere.get(self.host, self.host)

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/"


def read_wishes(environ: Mapping[str, str], kept: Mapping[str, str]) -> Wishes:
    """Read the variables `up` honours; empty ones count as unset.

    So do the URLs of our own servers: whoever loaded `dev.py env` into a shell and
    comes back later still has them, and would wait for servers that nobody starts.

    Args:
        environ: the user's environment.
        kept: see `load_secrets`.

    Raises:
        EnvironmentVariableError: a port is not a port.
    """
    v5_port = environ.get("MQTT_V5_PORT", "").strip()
    return Wishes(
        host=_text(environ, "HOST", ports.LOOPBACK).strip("[]"),
        port=_port(environ, "PORT", 8000),
        mqtt_port=_port(environ, "MQTT_PORT", 1883),
        v5_port=_port(environ, "MQTT_V5_PORT", 0) if v5_port else None,
        flower_port=_port(environ, "FLOWER_PORT", 5555),
        admin_username=_text(environ, "ADMIN_USERNAME", "admin"),
        admin_password=environ.get("ADMIN_PASSWORD", ""),
        database_url=_foreign_url(environ, "DATABASE_URL", kept["database_password"]),
        redis_url=_foreign_url(environ, "REDIS_URL", kept["redis_password"]),
        mqtt_url=_foreign_url(environ, "MQTT_URL", kept["broker_password"]),
    )


def check_ports(wishes: Wishes, *, with_v5: bool) -> None:
    """Make sure that what we are to listen on is free.

    Args:
        wishes: see there.
        with_v5: whether the broker needs MQTT_V5_PORT.

    Raises:
        EnvironmentVariableError: it is not; names the variable.
    """
    if (reason := ports.why_taken(0, host=wishes.host)) is not None:
        message = f"HOST={wishes.host!r} {reason}"
        raise EnvironmentVariableError(message)
    wanted = [("PORT", wishes.port, wishes.host)]
    wanted += [("FLOWER_PORT", wishes.flower_port, ports.LOOPBACK)]
    if not wishes.mqtt_url:
        wanted += [("MQTT_PORT", wishes.mqtt_port, ports.LOOPBACK)]
        if with_v5 and wishes.v5_port is not None:
            wanted += [("MQTT_V5_PORT", wishes.v5_port, ports.LOOPBACK)]
    seen: dict[int, str] = {}
    for name, port, host in wanted:
        reason = ports.why_taken(port, host=host)
        if port in seen:
            reason = f"is also {seen[port]}"
        if reason is not None:
            message = f"{name}: port {port} {reason}; set {name} to another one"
            raise EnvironmentVariableError(message)
        seen[port] = name


def load_secrets(path: Path) -> dict[str, str]:
    """The secrets kept in a file only we can read; missing ones are made and kept.

    Raises:
        EnvironmentVariableError: the file is damaged.
    """
    kept: dict[str, str] = {}
    if path.exists():
        try:
            kept = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            message = f"{path} cannot be read ({error}); restore it or remove .run"
            raise EnvironmentVariableError(message) from error
    made = {**new_secrets(), **kept}
    if made != kept:
        write_private(path, json.dumps(made, indent=1))
    return made


def new_secrets() -> dict[str, str]:
    """Random secrets, in the form of `.run/secrets.json`."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(50),
        # A Fernet key.
        "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "database_password": secrets.token_urlsafe(24),
        "redis_password": secrets.token_urlsafe(24),
        "broker_password": secrets.token_urlsafe(24),
        "admin_password": secrets.token_urlsafe(12),
    }


def system_variables(
    wishes: Wishes,
    kept: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    database_url: str,
    redis_url: str,
    mqtt_url: str,
    v5_port: int,
) -> dict[str, str]:
    """The variables that make up one running system, as `dev.py env` shows them.

    Args:
        wishes: what the user asked for.
        kept: see `load_secrets`.
        environ: the user's environment; SECRET_KEY and the like win over kept ones.
        database_url: of the database in use, embedded or given.
        redis_url: likewise.
        mqtt_url: likewise.
        v5_port: where the broker speaks MQTT 5.
    """
    password = wishes.admin_password or kept["admin_password"]
    return {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "MQTT_URL": mqtt_url,
        "SECRET_KEY": _text(environ, "SECRET_KEY", kept["SECRET_KEY"]),
        "FIELD_ENCRYPTION_KEYS": _text(
            environ, "FIELD_ENCRYPTION_KEYS", kept["FIELD_ENCRYPTION_KEYS"]
        ),
        "ALLOWED_HOSTS": _text(environ, "ALLOWED_HOSTS", _allowed_hosts(wishes)),
        "HOST": wishes.host,
        "PORT": str(wishes.port),
        "MQTT_PORT": str(urlsplit(mqtt_url).port or wishes.mqtt_port),
        "MQTT_V5_PORT": str(v5_port),
        "FLOWER_PORT": str(wishes.flower_port),
        "FLOWER_BASIC_AUTH": f"{wishes.admin_username}:{password}",
        "MQTT_INSTANCE_ID": _text(environ, "MQTT_INSTANCE_ID", INSTANCE_ID),
        "ADMIN_USERNAME": wishes.admin_username,
        "ADMIN_PASSWORD": password,
    }


def process_environ(
    root: Path, environ: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of a process of ours: the user's own, then `variables`."""
    venv = root / ".venv"
    # NAME_FILE wins over NAME where the settings read secrets.
    unwanted = {*PYTHON_VARIABLES, *(f"{name}_FILE" for name in variables)}
    result = {k: v for k, v in environ.items() if k not in unwanted}
    result |= {
        "PATH": f"{venv / 'bin'}:{environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(venv),
        "PYTHONUNBUFFERED": "1",
    }
    return {**result, **variables}


def chosen_settings(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The user's own settings, which `manage` and `env` have to repeat."""
    return {k: v for k, v in environ.items() if is_setting(root, k)}


def without_settings(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without what would change the system's behaviour."""
    return {k: v for k, v in environ.items() if not is_setting(root, k)}


def is_setting(root: Path, name: str) -> bool:
    return SETTING.fullmatch(name) is not None or name in _listed(root)


def _listed(root: Path) -> set[str]:
    """The names in .env.example, which lists every setting."""
    try:
        text = (root / ".env.example").read_text(encoding="utf-8")
    except OSError:
        return set()
    return set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))


def _allowed_hosts(wishes: Wishes) -> str:
    address = f"[{wishes.address}]" if ":" in wishes.address else wishes.address
    hosts = ["localhost", "127.0.0.1", "[::1]", socket.gethostname().lower(), address]
    return ",".join(dict.fromkeys(host for host in hosts if host))


def _foreign_url(environ: Mapping[str, str], name: str, own_password: str) -> str:
    url = _text(environ, name, "")
    try:
        password = unquote(urlsplit(url).password or "")
    except ValueError as error:
        message = f"{name} is not a URL: {error}"
        raise EnvironmentVariableError(message) from error
    return "" if password == own_password else url


def _text(environ: Mapping[str, str], name: str, default: str) -> str:
    return environ.get(name, "").strip() or default


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    value = _text(environ, name, str(default))
    if value.isascii() and value.isdigit() and 0 < int(value) <= HIGHEST_PORT:
        return int(value)
    message = f"{name}={value!r} is not a port number (1 to {HIGHEST_PORT})"
    raise EnvironmentVariableError(message)
