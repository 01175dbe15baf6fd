"""MQTT_URL taken apart: where a broker is and how to log in there."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_PORTS = {
    "mqtt": 1883,
    "mqtts": 8883,
}  # the registered ports of MQTT without and with TLS


class BrokerUrlError(ValueError):
    """A text is not a broker's URL; never repeated here, since it holds a password."""

    def __init__(self) -> None:
        super().__init__(
            "The broker URL must have the form mqtt://user:password@host:port "
            "(mqtts:// for TLS; user, password and port may be left out)"
        )


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    use_tls: bool = False

    @classmethod
    def parse(cls, url: str) -> BrokerUrl:
        """Take `mqtt[s]://[user[:password]@]host[:port]` apart, with %-decoding.

        Raises:
            BrokerUrlError: other scheme, no host, bad port, or anything after the port.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise BrokerUrlError from error
        extra = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in _PORTS or not parts.hostname or port == 0 or extra:
            raise BrokerUrlError
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            use_tls=parts.scheme == "mqtts",
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
