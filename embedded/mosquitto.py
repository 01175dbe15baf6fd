"""Finds an installed mosquitto and writes its configuration and password file."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

OLDEST = 2  # 1.x does not know the $7$ password hash
ITERATIONS = 101  # mosquitto_passwd's own default; the passwords are random
# The biggest packet taken, in bytes: far above any payload of a datalogger, small
# enough that one client cannot make the broker buffer hundreds of megabytes.
MAX_PACKET = 2 * 1024 * 1024

CONFIG = """\
# Written by dev.py at every start.
per_listener_settings false
listener {port} 127.0.0.1
{access}
persistence true
persistence_location {data}/
persistence_file mosquitto.db
autosave_interval 10
max_inflight_messages 1000
max_queued_messages 100000
max_packet_size {max_packet}
set_tcp_nodelay true
log_dest stdout
log_type error
log_type warning
log_type notice
connection_messages false
{user}
{extra}
"""


@cache
def mosquitto_binary() -> Path | None:
    """An installed mosquitto of a usable version, or None.

    Debian has it in /usr/sbin, which is not on an ordinary user's PATH.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("mosquitto", path=path)
    return Path(found) if found and _major_version(found) >= OLDEST else None


def _major_version(binary: str) -> int:
    try:
        done = subprocess.run(
            [binary, "-h"],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r"mosquitto version (\d+)\.", done.stdout)
    return int(match[1]) if match else 0


def config(*, port: int, data: Path, passwords: Path | None, extra_config: str) -> str:
    """The configuration file's text; without `passwords` anybody may connect."""
    if passwords is None:
        access = "allow_anonymous true"
    else:
        access = f"allow_anonymous false\npassword_file {passwords}"
    # Started by root it would become the user mosquitto, who cannot read our files.
    user = "user root" if os.geteuid() == 0 else ""
    return CONFIG.format(
        port=port,
        access=access,
        data=data,
        max_packet=MAX_PACKET,
        user=user,
        extra=extra_config,
    )


def password_lines(users: Mapping[str, str]) -> str:
    """The password file's text: PBKDF2 with SHA-512, as mosquitto_passwd writes it."""
    return "".join(f"{name}:{_hash(password)}\n" for name, password in users.items())


def _hash(password: str) -> str:
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    parts = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"$7${ITERATIONS}$" + "$".join(parts)
