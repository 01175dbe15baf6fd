"""MQTT peers for the tests: a publisher that counts PUBACKs, a listener, a thief."""

from __future__ import annotations

import json
import time
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


class Peer:
    """A plain client of a broker on loopback."""

    def __init__(
        self, port: int, *, client_id: str = "", login: tuple[str, str] | None = None
    ):
        self._confirmed: set[int] = set()
        self.heard: dict[str, list[bytes]] = {}
        self._tags: dict[int, int] = {}
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self.client.max_inflight_messages_set(500)
        self.client.max_queued_messages_set(0)
        self.client.reconnect_delay_set(1, 1)
        if login:
            self.client.username_pw_set(*login)
        self.client.on_publish = self._on_publish
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        end = time.monotonic() + 30
        while not self.client.is_connected():
            assert time.monotonic() < end, (
                "the broker does not take the test's own client"
            )
            time.sleep(0.01)

    def _on_publish(self, _c: Any, _u: Any, mid: int, _r: Any, _p: Any) -> None:
        self._confirmed.add(mid)  # perhaps before `publish` has noted the tag

    def _on_message(self, _c: Any, _u: Any, message: Any) -> None:
        self.heard.setdefault(message.topic, []).append(message.payload)

    def publish(
        self, topic: str, body: Any, *, tag: int = -1, retain: bool = False
    ) -> None:
        """Publish at QoS 1; `tag` is in `acked` once the broker has it."""
        payload = body if isinstance(body, (bytes, str)) else json.dumps(body)
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        self._tags[info.mid] = tag

    @property
    def acked(self) -> set[int]:
        """The tags of what the broker confirmed; fewer than 65,536 messages a peer."""
        return {self._tags[mid] for mid in list(self._confirmed) if mid in self._tags}

    def subscribe(self, topic: str, *, qos: int = 1) -> None:
        self.client.subscribe(topic, qos=qos)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
