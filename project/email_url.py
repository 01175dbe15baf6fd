"""EMAIL_URL taken apart: the mail server that alerts are sent through."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_PORTS = {"smtp": 25, "smtps": 465}
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class EmailUrl:
    """`host` is empty when nothing is configured; `use_tls` means STARTTLS."""

    host: str = ""
    port: int = 25
    username: str = ""
    password: str = field(default="", repr=False)
    use_tls: bool = False
    use_ssl: bool = False

    @classmethod
    def parse(cls, url: str) -> EmailUrl:
        """Take `smtp[s]://[user:password@]host[:port][?tls=1]` apart, with %-decoding.

        Raises:
            ImproperlyConfigured: it is none; the message holds nothing of it.
        """
        if not url:
            return cls()
        try:
            parts = urlsplit(url)
            port = parts.port
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
            use_tls = _TRUTH[options.pop("tls", "0").lower()]
        except (ValueError, KeyError) as error:
            raise _wrong() from error
        extra = options or parts.path.strip("/") or parts.fragment
        if parts.scheme not in _PORTS or not parts.hostname or port == 0 or extra:
            raise _wrong()
        use_ssl = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=port or (587 if use_tls and not use_ssl else _PORTS[parts.scheme]),
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            use_tls=use_tls and not use_ssl,
            use_ssl=use_ssl,
        )


def _wrong() -> ImproperlyConfigured:
    return ImproperlyConfigured(
        "EMAIL_URL is not of the form smtp://user:password@host:587?tls=1 "
        "(smtps:// for TLS from the start; user, password and port may be left out)"
    )
