"""One TCP session with a broker: a paho client from its connect to its close.

After `open` (in the executor) only the loop thread touches a link. Every call into
paho is wrapped: one exception, or a topic that is not UTF-8, would otherwise end paho's
work while it still says that it is connected.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from paho.mqtt.client import MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from workers.dialing import dial
from workers.pahoclient import BufferedClient, Publish
from workers.spec import ConnectionSpec

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 86_400  # MQTT 5: how long a broker keeps our session
RECEIVE_MAXIMUM = 2_000  # MQTT 5: unacknowledged messages at once; the inbox holds more
MAX_PACKET_BYTES = 1_048_576 + 65_535 + 16  # payload, topic, header
MQTT_WINDOW = 65_535  # MQTT 5 §3.2.2.3.3: without a Receive Maximum of the broker
_PROTOCOL_ERROR = 0x82
_KEEPALIVE_TIMEOUT = 0x8D  # also what paho calls a CONNECT that nobody answered


class Listener(Protocol):
    """Who hears what happens on a link.

    Called on the loop thread and never from inside paho: its callback lock is not
    reentrant, so a `disconnect` in a callback would wait for itself.
    """

    def link_accepted(self, link: Link, *, session_present: bool) -> None: ...
    def link_refused(self, link: Link, code: int, words: str) -> None: ...
    def link_subscribed(self, link: Link, mid: int, refused: list[str]) -> None: ...
    def link_published(self, link: Link, mid: int, code: int) -> None:
        """The broker answered our message; from 0x80 on it did not take it."""

    def link_closed(self, link: Link) -> None: ...


Sink = Callable[["Link", Publish], None]


class Owner(Listener, Protocol):
    """Who had a link opened."""

    def link_opened(self, link: Link, error: Exception | None) -> bool:
        """The executor is done; return whether the link is to be watched."""


class Link:
    """A broker session in the making or in use."""

    def __init__(
        self,
        spec: ConnectionSpec,
        session: int,
        listener: Listener,
        sink: Sink,
    ) -> None:
        """Prepare a link; nothing is sent yet.

        Args:
            spec: where to and as whom.
            session: number of this TCP session, for acknowledgements.
            listener: hears of accept, refuse, subscribe, publish, close.
            sink: takes each message.
        """
        self.spec = spec
        self.session = session
        self.sock: socket.socket | None = None
        self.fd = -1  # kept after the close, for the selector
        self.is_opening = True  # in the executor's hands
        self.is_closed = False
        self.was_accepted = False
        self.accepted_at = 0.0  # monotonic
        self.server_code: int | None = None  # of a DISCONNECT that the broker sent
        self.broke_protocol = ""
        self.was_silent = False  # closed by us: no answer within the keepalive
        self.retained_seen = 0  # retained messages since somebody set it to 0
        self.lowered: dict[str, int] = {}  # by filter, a QoS below the one asked for
        # Topics that got a live message, while somebody wants to know.
        self.live_topics: set[bytes] | None = None
        self.peer: object = None  # the address at the other end
        # Who is told (reason code, its words) of a packet id's PUBACK, once.
        self.awaiting: dict[int, Callable[[int, str], None]] = {}
        self.receive_maximum = MQTT_WINDOW  # unacknowledged messages the broker takes
        self._listener = listener
        self._sink = sink
        self._asked: dict[int, dict[str, int]] = {}  # QoS by filter, by SUBSCRIBE
        self._news: deque[Callable[[], None]] = deque()
        self._client = self._make_client()

    def _make_client(self) -> BufferedClient:
        spec = self.spec
        is_v5 = spec.protocol == "5"
        client = BufferedClient(
            CallbackAPIVersion.VERSION2,
            client_id=spec.client_id,
            clean_session=None if is_v5 else spec.clean_session,
            protocol=MQTTv5 if is_v5 else MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
            take=self._take,
        )
        client.max_queued_messages_set(1_000)
        if spec.username:
            client.username_pw_set(spec.username, spec.password)
        if spec.has_will:
            client.will_set(spec.status_topic, "offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        # With these set, paho leaves all writing to our loop.
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = _ignore
        client.on_socket_unregister_write = _ignore
        return client

    # -- in the executor -------------------------------------------------------

    def open(self) -> None:
        """Resolve, connect, shake hands, queue CONNECT. Blocks up to about 10 s.

        Raises:
            OSError: gaierror, ConnectionRefusedError, TimeoutError, SSLError and kin.
            ValueError: settings that paho or ssl cannot use.
        """
        self.attach(dial(self.spec))

    def attach(self, sock: socket.socket) -> None:
        """Take over a connected socket and queue CONNECT; close it if that fails."""
        spec = self.spec
        options: dict[str, Any] = {}
        if spec.protocol == "5":
            options["properties"] = self._connect_properties()
            options["clean_start"] = spec.clean_session
        self._client.dialled = sock
        try:
            self._client.connect(
                spec.host, spec.port, keepalive=spec.keepalive_s, **options
            )
        except BaseException:
            sock.close()
            raise

    @property
    def tls_alert(self) -> str:
        """Why the other end closed the secure connection, as OpenSSL says it."""
        return self._client.tls_alert

    def hand_over(self, listener: Listener) -> None:
        """Have somebody else hear what happens from now on."""
        self._listener = listener

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        if not self.spec.clean_session:
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
        return properties

    def _on_socket_open(self, _client: object, _data: object, sock: Any) -> None:  # noqa: ANN401
        self.sock = sock
        self.fd = sock.fileno()
        with suppress(OSError):  # the broker has closed already
            self.peer = sock.getpeername()

    def _on_socket_close(self, _client: object, _data: object, _sock: object) -> None:
        self.is_closed = True

    # -- on the loop thread ----------------------------------------------------

    @property
    def wants_write(self) -> bool:
        return not self.is_closed and self._client.has_unsent

    def on_readable(self) -> None:
        """Read and handle up to 32 KiB, about 2 ms; then it is another's turn."""
        self._client.reads_left = 1
        while True:
            self._guard(self._client.loop_read)
            while not self.is_closed and self._client.has_buffered:
                self._guard(self._client.read_on)
            if self.is_closed:
                break
            if self._client.announced_bytes > MAX_PACKET_BYTES:
                self.broke_protocol = (
                    f"a packet of {self._client.announced_bytes} bytes was announced; "
                    f"at most {MAX_PACKET_BYTES} are taken"
                )
                self.close()
                break
            if not (self._tls_pending() and self._client.reads_left):
                break
        self._tell()

    def _tls_pending(self) -> bool:
        """Whether TLS holds bytes that the selector cannot see."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def on_writable(self) -> None:
        self._guard(self._write)
        self._tell()

    def _write(self) -> MQTTErrorCode:
        code = self._client.loop_write()
        if not self.is_closed:
            self._client.flush()
        return code

    def misc(self) -> None:
        """Keepalive; call about once a second."""
        self._guard(self._client.loop_misc)
        self._tell()

    def subscribe(
        self, filters: Sequence[tuple[str, int]], *, again: bool = False
    ) -> int:
        """Send one SUBSCRIBE with all these filters; return its packet id.

        Args:
            filters: full topic filter and QoS of each.
            again: have retained messages sent once more also under MQTT 5, where else
                only a subscription that is new to the broker brings them.
        """
        topics: list[Any] = list(filters)
        if self.spec.protocol == "5":
            handling = 0 if again else 1
            topics = [
                (name, SubscribeOptions(qos=qos, retainHandling=handling))
                for name, qos in filters
            ]
        result = self._guard(lambda: self._client.subscribe(topics))
        mid = int(result[1] or 0) if result is not None else 0
        self._asked[mid] = dict(filters)
        return mid

    def unsubscribe(self, names: list[str]) -> None:
        self._guard(lambda: self._client.unsubscribe(names)[0])

    def publish(
        self, topic: str, payload: str | bytes, *, qos: int, retain: bool
    ) -> int:
        """Queue a message; return its packet id, 0 if it could not be queued."""
        result = self._guard(
            lambda: self._client.publish(topic, payload, qos=qos, retain=retain)
        )
        if result is None or result.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return 0
        return int(result.mid)

    def acknowledge(self, mids: list[int]) -> None:
        self._client.acknowledge(mids)
        self.on_writable()

    def disconnect(self, *, end_session: bool = False) -> None:
        """Say goodbye; the broker then publishes no will. Closes once it is sent."""
        properties = None
        if self.spec.protocol == "5" and end_session:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        self._guard(lambda: self._client.disconnect(properties=properties))
        self.on_writable()

    def close(self) -> None:
        """Close the socket as it is; the broker will publish our will."""
        self._guard(self._client._sock_close)
        self.is_closed = True

    def tell_closed(self) -> None:
        self._news.clear()
        self._tell()

    def _guard(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Run a call into paho; an exception costs this link, never the loop."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 (a border: paho, TLS, our callbacks)
            log.warning(
                "link failed connection_id=%d: %s",
                self.spec.connection_id,
                f"{type(error).__name__}: {error}"[:200],
            )
            if not isinstance(error, OSError):  # else the link is merely lost
                said = f"{type(error).__name__}: {error}"[:200]
                self.broke_protocol = self.broke_protocol or said
            if not self.is_closed:
                self.is_closed = True
                if self.sock is not None:
                    self.sock.close()
            return None

    def _tell(self) -> None:
        """Pass on what paho's callbacks noted; last, that the link is closed."""
        while self._news:
            self._news.popleft()()
        if self.is_closed:
            self._listener.link_closed(self)

    # -- paho's callbacks ------------------------------------------------------

    def _on_connect(
        self,
        _client: object,
        _data: object,
        flags: Any,  # noqa: ANN401
        code: ReasonCode,
        properties: object,
    ) -> None:
        if code.is_failure:
            value, words = code.value, str(code)
            self._news.append(lambda: self._listener.link_refused(self, value, words))
            return
        if self.was_accepted:
            message = "a second CONNACK"
            raise ValueError(message)
        self.was_accepted = True
        self.accepted_at = time.monotonic()
        self.receive_maximum = getattr(properties, "ReceiveMaximum", MQTT_WINDOW)
        present = bool(flags.session_present)
        self._news.append(
            lambda: self._listener.link_accepted(self, session_present=present)
        )

    def _on_subscribe(
        self,
        _client: object,
        _data: object,
        mid: int,
        codes: list[ReasonCode],
        _properties: object,
    ) -> None:
        asked = self._asked.pop(mid, None)
        if asked is None:
            return  # an answer to nothing that we asked
        answers = dict(zip(asked, codes, strict=False))
        refused = [n for n in asked if n not in answers or answers[n].is_failure]
        for name, code in answers.items():
            self.lowered.pop(name, None)
            if not code.is_failure and code.value < asked[name]:
                self.lowered[name] = code.value
        self._news.append(lambda: self._listener.link_subscribed(self, mid, refused))

    def _on_publish(
        self, _client: object, _data: object, mid: int, code: ReasonCode, _prop: object
    ) -> None:
        value = code.value
        self._news.append(lambda: self._listener.link_published(self, mid, value))
        told = self.awaiting.pop(mid, None)
        if told is not None:
            words = str(code)
            self._news.append(lambda: told(value, words))

    def _on_disconnect(
        self,
        _client: object,
        _data: object,
        flags: Any,  # noqa: ANN401
        code: ReasonCode,
        _properties: object,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self.server_code = code.value
        elif code.value == _KEEPALIVE_TIMEOUT:
            self.was_silent = True
        elif code.value == _PROTOCOL_ERROR:
            # paho also says so when the broker refuses our version of MQTT.
            self.broke_protocol = (
                "the broker sent what is no valid MQTT"
                if self.was_accepted
                else f"the broker does not answer as one of MQTT {self.spec.protocol}"
            )
        self.is_closed = True  # told to the listener when paho has returned

    def _take(self, message: Publish) -> None:
        if not self.was_accepted:
            error = "a message before CONNACK"
            raise ValueError(error)
        if message.retain:
            self.retained_seen += 1
        elif self.live_topics is not None:
            self.live_topics.add(message.topic)
        self._sink(self, message)


def _ignore(*_: object) -> None:
    """Writes are asked for by `wants_write`; paho only needs to see a callback."""
