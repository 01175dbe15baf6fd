"""One simulated device's MQTT client: paho without its threads, driven by the engine.

Only the engine's thread touches a link, except for `dial`, during which the engine
leaves it alone.
"""

from __future__ import annotations

import random
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from project.broker_url import BrokerUrl
from workers.fleet.crew import Crew, Slot
from workers.fleet.devices import Message
from workers.fleet.tally import Tally

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 3.0
CONNACK_TIMEOUT_S = 5.0
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 10.0
# Without acknowledgements the socket's own buffer is the window: write, then look.
QOS_0_BATCH = 500
BATCH_PART = 25  # of the window: 80 of 2,000, and 0 of a small one
PACKET_ID_BYTES = 2
FIRST_FAILURE = 0x80


@dataclass(frozen=True, slots=True)
class LinkOptions:
    broker: BrokerUrl
    protocol: str = "3.1.1"  # or "5"
    window: int = 2000  # QoS 1 messages in flight; a v5 broker may allow fewer
    run: str = ""  # tells two fleets on one broker apart


class QuickClient(paho.Client):
    """paho with a short way for PUBACKs, which are half of what a flood receives.

    paho 2.2.0 builds a ReasonCode and a Properties object for each: 106 µs of CPU a
    published message, 41 µs without (November 2026). This replaces one method that
    paho does not promise to keep; the system tests count every acknowledgement.
    """

    on_ack: Callable[[int, bool], None]  # packet id, whether it was refused

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) < PACKET_ID_BYTES:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        mid = int.from_bytes(packet[:PACKET_ID_BYTES], "big")
        if self._out_messages.pop(mid, None) is not None:
            # MQTT 5 §3.4.2.1: a reason code may follow, 0x80 and above are failures.
            reasons = packet[PACKET_ID_BYTES : PACKET_ID_BYTES + 1]
            self.on_ack(mid, bool(reasons) and reasons[0] >= FIRST_FAILURE)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


class LinkState(Enum):
    WAITING = auto()  # until `retry_at`
    DIALING = auto()
    OPENED = auto()  # CONNECT is on its way
    UP = auto()
    CLOSED = auto()  # for good


class Link:
    """A client with what waits to be published (`outbox`) and to be acknowledged."""

    def __init__(self, crew: Crew, options: LinkOptions, tally: Tally) -> None:
        self.crew = crew
        self.state = LinkState.WAITING
        self.retry_at = 0.0
        self.outbox: deque[Message] = deque()
        self.parked: list[Slot] = []
        self.in_flight: dict[int, Message] = {}
        self.heard: deque[tuple[str, bytes]] = deque()  # commands: topic, payload
        self.problem = ""  # why the last attempt ended
        self.is_fresh = False  # up, and not yet welcomed by the engine
        self.interest = 0  # what the selector watches for
        self._tally = tally
        self._broker = options.broker
        self._most_in_flight = self._window = options.window
        self._retries = 0
        self._opened_at = 0.0
        self._now = 0.0
        self.client = self._make_client(options)

    def _make_client(self, options: LinkOptions) -> QuickClient:
        is_v5 = options.protocol == "5"
        client = QuickClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"fleet-{options.run}-{self.crew.name}",
            protocol=paho.MQTTv5 if is_v5 else paho.MQTTv311,
            clean_session=None if is_v5 else True,
            reconnect_on_failure=False,
        )
        if options.broker.username:
            client.username_pw_set(options.broker.username, options.broker.password)
        if options.broker.use_tls:
            client.tls_set()
        will = self.crew.will
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.connect_timeout = CONNECT_TIMEOUT_S
        # 0 = no queue of paho's own: with a limit it walks all messages on each PUBACK.
        client.max_inflight_messages_set(0)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_ack = self._on_ack
        client.on_message = self._on_message
        # Its presence keeps paho from writing inside `publish`; the engine asks
        # `want_write` instead.
        client.on_socket_register_write = lambda *_: None
        client.on_socket_unregister_write = lambda *_: None
        return client

    def dial(self) -> None:
        """Open the socket; blocks. Raises OSError."""
        self.client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        sock = self.client.socket()
        if isinstance(sock, socket.socket):
            # A window smaller than a segment would wait 40 ms for delayed TCP ACKs.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def opened(self, now: float) -> None:
        self.state = LinkState.OPENED
        self._opened_at = now
        self.problem = "it closed the connection before CONNACK (a wrong password?)"

    def failed(self, problem: str, now: float) -> None:
        """The attempt came to nothing: wait before the next, longer each time."""
        self._tally.connects_failed += 1
        self.problem = problem
        self._wait(now)
        self.cut()

    def is_overdue(self, now: float) -> bool:
        waiting = self.state is LinkState.OPENED
        return waiting and now - self._opened_at > CONNACK_TIMEOUT_S

    def has_room(self) -> bool:
        """Whether a device's next messages could go out soon."""
        if self.state is not LinkState.UP or self.client.want_write():
            return False
        return len(self.outbox) + len(self.in_flight) < self._window

    def has_much_room(self) -> bool:
        """Enough for a batch to be worth the trip; at once where the window is small.

        A broker with Nagle's algorithm sends its second PUBACK after our next segment
        or 40 ms: a window of 20 (MQTT 5 at mosquitto) would stand still so long.
        """
        waiting = len(self.outbox) + len(self.in_flight)
        return self.has_room() and waiting <= self._window - self._window // BATCH_PART

    def can_pump(self) -> bool:
        """Whether `pump` would publish something."""
        if self.state is not LinkState.UP or self.client.want_write():
            return False
        return bool(self.outbox) and len(self.in_flight) < self._window

    def is_idle(self) -> bool:
        return not (self.outbox or self.in_flight or self.client.want_write())

    def listen(self, topics: list[str]) -> None:
        """Subscribe to where commands come."""
        if topics:
            self.client.subscribe([(topic, 1) for topic in topics])

    def pump(self, now: float) -> None:
        """Publish what waits, as far as the window allows, and write."""
        if not self.can_pump():
            return
        self._now = now
        publish, in_flight = self.client.publish, self.in_flight
        most = QOS_0_BATCH
        while self.outbox and len(in_flight) < self._window and most:
            message = self.outbox.popleft()
            info = publish(message.topic, message.payload, message.qos, message.retain)
            if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:  # packet id still in use
                self.outbox.appendleft(message)
                break
            if message.qos:
                in_flight[info.mid] = message
            else:
                most -= 1
            self._tally.count_published(message, now)
        self.client.loop_write()

    def read(self, now: float) -> None:
        self._now = now
        sock = self.client.socket()
        self.client.loop_read()
        # TLS may hold decrypted bytes that no selector knows of.
        while sock is not None and self.client.socket() is sock and _tls_pending(sock):
            self.client.loop_read()

    def misc(self, now: float) -> None:
        self._now = now
        self.client.loop_misc()

    def crash(self, until: float) -> None:
        """Lose power: what waits is gone, and nothing says goodbye."""
        self.outbox.clear()
        self.state = LinkState.WAITING
        self.retry_at = until
        self.cut()

    def cut(self) -> None:
        """Let the socket die without DISCONNECT, so that the broker sends the will."""
        sock = self.client.socket()
        if not isinstance(sock, socket.socket):
            return
        with suppress(OSError):  # the other side was faster
            sock.shutdown(socket.SHUT_RDWR)
        # paho notices at the end of the stream, behind what had already arrived.
        while self.client.socket() is not None:
            self.client.loop_read()

    def close(self) -> None:
        """Begin the clean end: DISCONNECT, after which the broker sends no will.

        Before the CONNACK too (MQTT 3.1.1 §3.1.4): a broker that is slow to accept us
        would else publish the will of devices that never were there.
        """
        was_open = self.state in (LinkState.OPENED, LinkState.UP)
        self.state = LinkState.CLOSED
        if was_open:
            self.client.disconnect()
            self.client.loop_write()

    def _wait(self, now: float) -> None:
        delay = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** min(self._retries, 10))
        self._retries += 1
        self.retry_at = now + delay * random.uniform(0.75, 1.25)  # noqa: S311 (jitter)
        self.state = LinkState.WAITING

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 (paho's own)
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self.state is not LinkState.OPENED:
            return  # we have given it up meanwhile
        if reason.is_failure:
            self.problem = f"it refused the connection: {reason}"
            return
        allowed = getattr(properties, "ReceiveMaximum", None)
        self._window = min(self._most_in_flight, allowed or self._most_in_flight)
        self.state = LinkState.UP
        self.problem = "the connection was lost"
        self.is_fresh = True
        self._retries = 0

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 (paho's own)
        _flags: paho.DisconnectFlags,
        _reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self.state is LinkState.UP:
            self._tally.connections_lost += 1
        elif self.state is LinkState.OPENED:
            self._tally.connects_failed += 1
        else:
            return  # asked for, or paho calling twice
        self._wait(self._now)

    def _on_message(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 (paho's own)
        message: paho.MQTTMessage,
    ) -> None:
        self.heard.append((message.topic, bytes(message.payload)))

    def _on_ack(self, mid: int, is_failure: bool) -> None:
        message = self.in_flight.pop(mid)
        self._tally.count_acked(message, self._now, is_failure=is_failure)


def _tls_pending(sock: object) -> bool:
    pending = getattr(sock, "pending", None)
    return bool(pending and pending())
