"""What went wrong in a step of a test, and what to do, in plain words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy


class Problem(StrEnum):
    """How a step of a test can fail."""

    SETTINGS = "settings"
    UNKNOWN_HOST = "unknown_host"
    DNS_TIMEOUT = "dns_timeout"
    REFUSED = "refused"
    TCP_TIMEOUT = "tcp_timeout"
    UNREACHABLE = "unreachable"
    TLS_SETTINGS = "tls_settings"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    NO_TLS = "no_tls"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    UNKNOWN_CA = "unknown_ca"
    WRONG_NAME = "wrong_name"
    CERTIFICATE_REFUSED = "certificate_refused"
    HANDSHAKE = "handshake"
    CLIENT_CERTIFICATE = "client_certificate"
    CONNACK_AUTH = "connack_auth"
    CONNACK_REFUSED = "connack_refused"
    CONNACK_CONFIG = "connack_config"
    CONNACK_PROTOCOL = "connack_protocol"
    NO_MQTT = "no_mqtt"
    HUNG_UP = "hung_up"
    NO_CONNACK = "no_connack"
    FILTERS_REFUSED = "filters_refused"
    NO_SUBACK = "no_suback"
    CLOSED = "closed"
    TEST_SUBSCRIPTION_REFUSED = "test_subscription_refused"
    CLOSED_ON_PUBLISH = "closed_on_publish"
    PUBLISH_REFUSED = "publish_refused"
    NO_PUBACK = "no_puback"
    NO_ECHO = "no_echo"
    UNEXPECTED = "unexpected"


_NAMES: Mapping[str, Promise] = {
    "dns": gettext_lazy("Host name"),
    "tcp": gettext_lazy("Connection"),
    "tls": gettext_lazy("Secure connection (TLS)"),
    "connack": gettext_lazy("Login"),
    "suback": gettext_lazy("Subscriptions"),
    "round_trip": gettext_lazy("Round trip of a message"),
}
_WORDS: Mapping[Problem, Promise] = {
    Problem.SETTINGS: gettext_lazy("The settings cannot be used: %(said)s"),
    Problem.UNKNOWN_HOST: gettext_lazy(
        "The host name %(host)s is not known; check its spelling and the worker's DNS"
    ),
    Problem.DNS_TIMEOUT: gettext_lazy(
        "The DNS did not answer for %(host)s; check the worker's name servers"
    ),
    Problem.REFUSED: gettext_lazy(
        "The host is there, but nothing listens on port %(port)s; check the port and "
        "whether the broker runs"
    ),
    Problem.TCP_TIMEOUT: gettext_lazy(
        "No answer on port %(port)s; check the address, and firewalls on the way"
    ),
    Problem.UNREACHABLE: gettext_lazy("The host cannot be reached: %(said)s"),
    Problem.TLS_SETTINGS: gettext_lazy(
        "The stored certificates cannot be used: %(said)s"
    ),
    Problem.HANDSHAKE_TIMEOUT: gettext_lazy(
        "The host took the connection and then did not finish the TLS handshake; "
        "perhaps this port has no TLS"
    ),
    Problem.NO_TLS: gettext_lazy(
        "Port %(port)s does not speak TLS; use the broker's TLS port (often 8883) or "
        "turn TLS off"
    ),
    Problem.EXPIRED: gettext_lazy(
        "The broker's certificate has expired; it must be renewed"
    ),
    Problem.NOT_YET_VALID: gettext_lazy(
        "The broker's certificate is not valid yet; check the clocks on both sides"
    ),
    Problem.UNKNOWN_CA: gettext_lazy(
        "The broker's certificate is from an authority that is not trusted here; "
        "enter its CA certificate in the settings"
    ),
    Problem.WRONG_NAME: gettext_lazy(
        "The broker's certificate is for another name; use that name as the host, or "
        "enter it as the TLS server name"
    ),
    Problem.CERTIFICATE_REFUSED: gettext_lazy(
        "The broker's certificate is refused: %(said)s"
    ),
    Problem.HANDSHAKE: gettext_lazy("The TLS handshake failed: %(said)s"),
    Problem.CLIENT_CERTIFICATE: gettext_lazy(
        "The broker refuses our client certificate, or demands one: %(said)s"
    ),
    Problem.CONNACK_AUTH: gettext_lazy(
        "The broker refuses the user name or the password"
    ),
    Problem.CONNACK_REFUSED: gettext_lazy("The broker refuses us for now: %(words)s"),
    Problem.CONNACK_CONFIG: gettext_lazy(
        "The broker does not take our client id: %(words)s"
    ),
    Problem.CONNACK_PROTOCOL: gettext_lazy(
        "The broker refuses our version of MQTT or our settings: %(words)s"
    ),
    Problem.NO_MQTT: gettext_lazy(
        "What answers there is no broker of this version of MQTT: %(said)s"
    ),
    Problem.HUNG_UP: gettext_lazy(
        "The broker hung up on our login; the usual cause is a wrong user name or "
        "password, or a port that wants TLS"
    ),
    Problem.NO_CONNACK: gettext_lazy(
        "The host took the connection and does not answer as a broker; check the port"
    ),
    Problem.FILTERS_REFUSED: gettext_lazy(
        "The broker refuses %(count)s of the subscriptions; allow them in its ACL"
    ),
    Problem.NO_SUBACK: gettext_lazy("The broker does not answer to a subscription"),
    Problem.CLOSED: gettext_lazy(
        "The broker closed the connection on our subscription; look into its ACL and "
        "its log"
    ),
    Problem.TEST_SUBSCRIPTION_REFUSED: gettext_lazy(
        "The broker does not let us subscribe to %(topic)s; readings are not affected"
    ),
    Problem.CLOSED_ON_PUBLISH: gettext_lazy(
        "The broker closed the connection when we published on %(topic)s; allow it in "
        "its ACL, or commands to devices will fail too"
    ),
    Problem.PUBLISH_REFUSED: gettext_lazy(
        "The broker does not let us publish on %(topic)s; readings are not affected, "
        "commands to devices may be"
    ),
    Problem.NO_PUBACK: gettext_lazy(
        "The broker did not confirm our message on %(topic)s"
    ),
    Problem.NO_ECHO: gettext_lazy(
        "The broker took our message on %(topic)s and did not send it back; perhaps "
        "its ACL forbids us to publish there. Readings are not affected"
    ),
    Problem.UNEXPECTED: gettext_lazy("This step failed unexpectedly: %(said)s"),
}


def name_of(step: str) -> str:
    """Return a step's name for people."""
    return str(_NAMES.get(step, step))


def words_for(step: Mapping[str, Any]) -> str:
    """Return what a worker's step means; empty for one that was skipped."""
    if step["ok"] is None:
        return ""
    if not step["problem"]:
        return _good(step)
    words = str((step.get("reason") or {}).get("words", ""))
    known = {"said": "", "host": "", "port": "", "topic": "", "count": 0}
    values: dict[str, object] = {**known, "words": words, **step}
    return str(_WORDS[Problem(step["problem"])]) % values


def _good(step: Mapping[str, Any]) -> str:
    name, certificate = step["name"], step.get("certificate")
    if name == "dns":
        return ", ".join(step["addresses"])
    if name == "tcp":
        return _("Connected to %s") % str(step["address"])
    if name == "tls" and certificate:
        days = certificate["days_left"]
        text = _("%(version)s; the certificate is valid for %(days)d more days")
        return text % {"version": step["version"], "days": days}
    if name == "connack":
        return _("The broker accepts us")
    if name == "suback":
        return _("The broker accepts all %d subscriptions") % len(step["filters"])
    if name == "round_trip":
        return _("A message of ours came back")
    return ""
