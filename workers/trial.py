"""Tries a connection step by step, beside the running one, and says how each went.

Runs on a Celery pool thread with sockets of its own; every step has a time limit, all
together stay under 15 s. What went wrong is said as a problem's name with details: the
web puts it into words (apps/sites/trial_words.py).
"""

from __future__ import annotations

import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from apps.sites.trial_words import Problem
from workers import dialing
from workers.dialing import Address, HandshakeError, HandshakeTimeoutError
from workers.faults import fault_of_code
from workers.spec import ConnectionSpec
from workers.talk import MANY, Talk

DNS_S, TCP_S, TLS_S = 2.5, 3.0, 2.5
LOOK_S = 1.0  # to fetch a certificate that was refused
CONNACK_S, SUBACK_S, ECHO_S = 3.0, 2.5, 3.0
TOTAL_S = 14.0
SUFFIX = "_test"

STEPS = ("dns", "tcp", "tls", "connack", "suback", "round_trip")
NEEDED = STEPS[:-1]  # a broker may forbid us to publish and still serve us


class StepError(Exception):
    """A step failed; `problem` names how."""

    def __init__(self, problem: Problem, **details: Any) -> None:  # noqa: ANN401 (JSON)
        super().__init__(problem)
        self.problem = problem
        self.details = details


@dataclass(slots=True)
class Trial:
    """One test of one spec; `run` once."""

    spec: ConnectionSpec
    steps: list[dict[str, Any]] = field(default_factory=list)
    _deadline: float = 0.0  # monotonic
    _addresses: list[Address] = field(default_factory=list)
    _sock: socket.socket | None = None
    _talk: Talk | None = None

    def run(self) -> dict[str, Any]:
        """Return `{"ok", "steps"}`; never raises for what a broker does."""
        self._deadline = time.monotonic() + TOTAL_S
        failed = False
        for name in STEPS:
            act: Callable[[], dict[str, Any]] = getattr(self, f"_{name}")
            if failed or (name == "tls" and self.spec.tls is None):
                self.steps.append({"name": name, "ok": None, "ms": 0.0, "problem": ""})
                continue
            failed = not self._try(name, act)
        if self._talk is not None:
            self._talk.end()
        elif self._sock is not None:
            self._sock.close()
        needed = [step["ok"] for step in self.steps if step["name"] in NEEDED]
        return {
            "ok": False not in needed and not self.spec.problem,
            "steps": self.steps,
        }

    def _try(self, name: str, act: Callable[[], dict[str, Any]]) -> bool:
        began = time.monotonic()
        step: dict[str, Any] = {"name": name, "ok": True, "ms": 0.0, "problem": ""}
        try:
            step |= act()
        except StepError as error:
            step |= {"ok": False, "problem": error.problem} | error.details
        except Exception as error:  # noqa: BLE001 (a border: sockets, TLS, the broker)
            said = f"{type(error).__name__}: {error}"[:MANY]
            step |= {"ok": False, "problem": Problem.UNEXPECTED, "said": said}
        step["ms"] = round((time.monotonic() - began) * 1_000, 1)
        self.steps.append(step)
        return bool(step["ok"])

    def _at_most(self, limit_s: float) -> float:
        return max(0.1, min(limit_s, self._deadline - time.monotonic()))

    # -- the steps -------------------------------------------------------------

    def _dns(self) -> dict[str, Any]:
        if self.spec.problem:
            raise StepError(Problem.SETTINGS, said=self.spec.problem)
        self._addresses = resolve_in_time(self.spec.host, self.spec.port)
        return {"addresses": _names(self._addresses)}

    def _tcp(self) -> dict[str, Any]:
        try:
            self._sock = dialing.connect(self._addresses, self._at_most(TCP_S))
        except ConnectionRefusedError as error:
            raise StepError(Problem.REFUSED, port=self.spec.port) from error
        except TimeoutError as error:
            raise StepError(Problem.TCP_TIMEOUT, port=self.spec.port) from error
        except OSError as error:
            raise StepError(Problem.UNREACHABLE, said=_said(error)) from error
        return {"address": str(self._sock.getpeername()[0])}

    def _tls(self) -> dict[str, Any]:
        if self.spec.tls is None or self._sock is None:
            raise StepError(Problem.UNEXPECTED)
        try:
            context = dialing.tls_context(self.spec.tls)
        except (OSError, ValueError) as error:
            raise StepError(Problem.TLS_SETTINGS, said=_said(error)) from error
        sock, self._sock = self._sock, None
        try:
            secured = dialing.secure(sock, context, self.spec, self._at_most(TLS_S))
        except HandshakeTimeoutError as error:
            raise StepError(Problem.HANDSHAKE_TIMEOUT) from error
        except HandshakeError as error:
            raise StepError(Problem.NO_TLS, port=self.spec.port) from error
        except ssl.SSLCertVerificationError as error:
            details = self._look_at_certificate()
            raise StepError(_refusal(error), said=_why(error), **details) from error
        except (ssl.SSLError, ValueError) as error:
            raise StepError(_handshake_problem(error), said=_said(error)) from error
        self._sock = secured
        seen = secured.getpeercert(binary_form=True)
        return {
            "version": secured.version() or "",
            "certificate": about_certificate(seen) if seen else None,
        }

    def _look_at_certificate(self) -> dict[str, Any]:
        """Fetch the certificate that was refused; nothing else is said or believed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with suppress(OSError, ValueError):
            sock = dialing.connect(self._addresses, LOOK_S)
            with dialing.secure(sock, context, self.spec, LOOK_S) as secured:
                seen = secured.getpeercert(binary_form=True)
                return {"certificate": about_certificate(seen) if seen else None}
        return {}

    def _connack(self) -> dict[str, Any]:
        if self._sock is None:
            raise StepError(Problem.UNEXPECTED)
        sock, self._sock = self._sock, None
        self._talk = Talk(self.spec.visiting(SUFFIX))
        self._talk.begin(sock)
        is_in_time = self._talk.wait(
            lambda talk: talk.is_accepted or talk.refusal is not None,
            self._at_most(CONNACK_S),
        )
        link, refused = self._talk.link, self._talk.refusal
        if refused is not None:
            code, words = refused
            fault = fault_of_code(code, words)
            reason = {"code": code, "words": words}
            raise StepError(Problem(f"connack_{fault.reason}"), reason=reason)
        if is_in_time:
            return {"reason": {"code": 0, "words": "Success"}}
        if link.tls_alert:
            raise StepError(Problem.CLIENT_CERTIFICATE, said=link.tls_alert[:MANY])
        if link.broke_protocol:
            raise StepError(Problem.NO_MQTT, said=link.broke_protocol[:MANY])
        if link.is_closed:
            raise StepError(Problem.HUNG_UP)
        raise StepError(Problem.NO_CONNACK)

    def _suback(self) -> dict[str, Any]:
        talk = self._talking()
        if not self.spec.filters:
            return {"filters": []}
        mid = talk.link.subscribe(self.spec.filters)
        if not talk.wait(lambda t: mid in t.subacks, self._at_most(SUBACK_S)):
            raise StepError(_unanswered(talk))
        refused = set(talk.subacks[mid])
        results = [
            {"filter": name, "ok": name not in refused} for name, _ in self.spec.filters
        ]
        if refused:
            raise StepError(
                Problem.FILTERS_REFUSED, filters=results, count=len(refused)
            )
        return {"filters": results}

    def _round_trip(self) -> dict[str, Any]:
        """Say something to ourselves on a topic that nobody else looks at."""
        talk = self._talking()
        talk.link.unsubscribe([name for name, _ in self.spec.filters])
        topic, mark = f"{self.spec.code}/backend/test", secrets.token_hex(8)
        talk.listens_for = (topic.encode(), mark.encode())
        mid = talk.link.subscribe([(topic, 1)])
        if not talk.wait(lambda t: mid in t.subacks, self._at_most(SUBACK_S)):
            raise StepError(_unanswered(talk))
        if talk.subacks[mid]:
            raise StepError(Problem.TEST_SUBSCRIPTION_REFUSED, topic=topic)
        sent = talk.link.publish(topic, mark, qos=1, retain=False)
        if talk.wait(lambda t: t.is_echoed, self._at_most(ECHO_S)):
            return {"topic": topic}
        if talk.link.is_closed:
            raise StepError(Problem.CLOSED_ON_PUBLISH, topic=topic)
        code = talk.pubacks.get(sent)
        if code is not None and code >= 0x80:  # noqa: PLR2004 (MQTT 5: an error)
            raise StepError(Problem.PUBLISH_REFUSED, topic=topic, code=code)
        problem = Problem.NO_PUBACK if code is None else Problem.NO_ECHO
        raise StepError(problem, topic=topic)

    def _talking(self) -> Talk:
        if self._talk is None:
            raise StepError(Problem.UNEXPECTED)
        return self._talk


def resolve_in_time(host: str, port: int) -> list[Address]:
    """Resolve on a thread of its own: nothing can interrupt the system's resolver."""
    found: list[Address] = []
    failed: list[Exception] = []

    def look() -> None:
        try:
            found.extend(dialing.resolve(host, port))
        except (OSError, ValueError) as error:
            failed.append(error)

    thread = threading.Thread(target=look, name="mqtt-test-dns", daemon=True)
    thread.start()
    thread.join(DNS_S)
    if failed:
        raise StepError(Problem.UNKNOWN_HOST, host=host) from failed[0]
    if not found:
        raise StepError(Problem.DNS_TIMEOUT, host=host)
    return found


def about_certificate(der: bytes) -> dict[str, Any]:
    """Return who a certificate is for, who made it and how long it lives."""
    certificate = x509.load_der_x509_certificate(der)
    until = certificate.not_valid_after_utc
    return {
        "subject": certificate.subject.rfc4514_string()[:MANY],
        "issuer": certificate.issuer.rfc4514_string()[:MANY],
        "not_after": until.isoformat().replace("+00:00", "Z"),
        "days_left": (until - datetime.now(UTC)).days,
    }


# OpenSSL's X509_V_ERR_ codes (x509_vfy.h).
_REFUSALS = {
    9: Problem.NOT_YET_VALID,
    10: Problem.EXPIRED,
    18: Problem.UNKNOWN_CA,  # signed by itself
    19: Problem.UNKNOWN_CA,  # a chain that ends in one we do not trust
    20: Problem.UNKNOWN_CA,
    21: Problem.UNKNOWN_CA,
    62: Problem.WRONG_NAME,
    64: Problem.WRONG_NAME,  # an IP address
}


def _refusal(error: ssl.SSLCertVerificationError) -> Problem:
    return _REFUSALS.get(error.verify_code, Problem.CERTIFICATE_REFUSED)


def _handshake_problem(error: Exception) -> Problem:
    reason = str(getattr(error, "reason", "") or "")
    if "WRONG_VERSION_NUMBER" in reason or isinstance(error, ssl.SSLEOFError):
        return Problem.NO_TLS
    if "CERTIFICATE" in reason:
        return Problem.CLIENT_CERTIFICATE
    return Problem.HANDSHAKE


def _unanswered(talk: Talk) -> Problem:
    return Problem.CLOSED if talk.link.is_closed else Problem.NO_SUBACK


def _why(error: ssl.SSLCertVerificationError) -> str:
    return str(error.verify_message or error)[:MANY]


def _said(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:MANY]


def _names(addresses: list[Address]) -> list[str]:
    return list(dict.fromkeys(str(address[0]) for _, address in addresses))[:20]
