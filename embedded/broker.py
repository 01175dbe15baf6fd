"""The embedded MQTT broker: an installed mosquitto, else rumqttd from a wheel."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote

from embedded import mosquitto, mqttprobe, ports, rumqttd
from embedded.server import (
    Launch,
    Server,
    ServerError,
    choose_port,
    make_dir,
    server_environ,
    write_private,
)

Kind = Literal["mosquitto", "iotcore"]
MQTT_3, MQTT_5 = 4, 5  # protocol levels on the wire


@dataclass(init=False)
class Broker(Server):
    """An MQTT broker on loopback.

    mosquitto keeps sessions, retained and queued messages over a graceful restart (and
    saves them every 10 s); iotcore loses them at every stop. iotcore 0.4.0 also closes
    about one connection in a thousand right after its CONNECT, when another client
    disconnects in that moment (measured under load): clients have to try again.

    Args:
        state_dir: for configuration, passwords, data and log.
        port: MQTT 3.1.1, and MQTT 5 as well with mosquitto; None for a free one.
        v5_port: MQTT 5 with iotcore, None for a free one; ignored with mosquitto.
        users: name to password; None lets everybody in, an empty dict nobody.
        kind: "auto" takes mosquitto when it is installed.
        extra_config: lines appended to mosquitto.conf.

    Raises:
        ServerError: the wanted kind is not installed, or `extra_config` with iotcore.
    """

    kind: Kind
    v5_port: int
    users: dict[str, str] | None
    extra_config: str

    name: ClassVar[str] = "broker"

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int | None = None,
        v5_port: int | None = None,
        users: dict[str, str] | None = None,
        kind: Literal["auto", "mosquitto", "iotcore"] = "auto",
        extra_config: str = "",
    ) -> None:
        super().__init__(state_dir, choose_port(port))
        self.kind = choose_kind(kind)
        self.v5_port = self.port if self.kind == "mosquitto" else choose_port(v5_port)
        self.users = users
        self.extra_config = extra_config
        if extra_config and self.kind == "iotcore":
            message = "extra_config is mosquitto's; iotcore takes none"
            raise ServerError(message)

    @property
    def url(self) -> str:
        """For MQTT 3.1.1 clients, with the first user's login."""
        return f"mqtt://{self._userinfo()}{ports.LOOPBACK}:{self.port}"

    @property
    def v5_url(self) -> str:
        """For MQTT 5 clients, with the first user's login."""
        return f"mqtt://{self._userinfo()}{ports.LOOPBACK}:{self.v5_port}"

    def set_users(self, users: dict[str, str] | None) -> None:
        """Change who may connect, from the next start on."""
        self.users = users

    def prepare(self) -> None:
        make_dir(self.state_dir)
        if self.kind == "iotcore":
            text = rumqttd.config(
                port=self.port, v5_port=self.v5_port, users=self.users
            )
            write_private(self._config, text)
            return
        passwords = None
        if self.users is not None:
            passwords = self.state_dir.resolve() / "mosquitto.passwd"
            write_private(passwords, mosquitto.password_lines(self.users))
        text = mosquitto.config(
            port=self.port,
            data=make_dir(self.state_dir / "mosquitto").resolve(),
            passwords=passwords,
            extra_config=self.extra_config,
        )
        write_private(self._config, text)

    def launch(self) -> Launch:
        config = str(self._config.resolve())
        if self.kind == "iotcore":
            argv = [sys.executable, "-I", rumqttd.__file__, config]
        else:
            argv = [str(mosquitto.mosquitto_binary()), "-c", config]
        return Launch(argv, server_environ(), cwd=self.state_dir)

    def is_ready(self) -> bool:
        levels = {(self.port, MQTT_3), (self.v5_port, MQTT_5)}
        if self.users == {}:  # nobody may connect, so nobody can ask more than this
            return all(mqttprobe.listens(ports.LOOPBACK, port) for port, _ in levels)
        return all(
            mqttprobe.accepts(ports.LOOPBACK, port, login=self._login(), level=level)
            for port, level in levels
        )

    @property
    def _config(self) -> Path:
        name = "mosquitto.conf" if self.kind == "mosquitto" else "rumqttd.toml"
        return self.state_dir / name

    def _login(self) -> tuple[str, str] | None:
        return next(iter(self.users.items()), None) if self.users else None

    def _userinfo(self) -> str:
        login = self._login()
        return ":".join(quote(part, safe="") for part in login) + "@" if login else ""


def choose_kind(wanted: Literal["auto", "mosquitto", "iotcore"]) -> Kind:
    """Which broker to run.

    Raises:
        ServerError: mosquitto is wanted and not installed.
    """
    if wanted == "iotcore":
        return "iotcore"
    if mosquitto.mosquitto_binary() is not None:
        return "mosquitto"
    if wanted == "auto":
        return "iotcore"
    message = "mosquitto (2.0 or newer) is not installed"
    raise ServerError(message)
