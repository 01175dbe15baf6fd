"""Simulated devices, pure: they are told the time and answer with messages.

No clock, no network, no settings: the same seed and the same times give the same
messages. Topics and payloads are those of the native protocol, version 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Literal, NamedTuple

from project.demo import STEADY, Habit, SensorSpec, Stamp
from workers.fleet.values import Battery, Drift, Kind, Value, process_of, warmth

MessageKind = Literal["status", "heartbeat", "data", "malformed", "output", "foreign"]

FIRMWARE = "V.5.53.0"
BUFFER_SAMPLES = 240  # what a datalogger's memory holds while nobody listens
LIST_SAMPLES = 60  # objects in one late message: a few kilobytes
LATE_S = 10.0  # a sample older than this was buffered, and goes out in a list
CATCH_UP_SAMPLES = 50  # in one step, when the publisher lags behind the device
ECHOED_BYTES = 200  # of a command, in its answer
_RSSI = Kind(warmth, noise=4, memory_s=300, decimals=0, low=-110, high=-30)
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_PER_UNIT: dict[Stamp, int] = {"s": 1, "iso": 1, "ms": 1_000, "us": 1_000_000}


class Message(NamedTuple):
    """One MQTT message; `values` is how many values a reader shall find in it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    kind: MessageKind
    values: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """What a device is and does; times in seconds."""

    base: str  # its topics begin so: site_001/gateway/1/datalogger/monstro/15
    serial: str
    label: str
    sensors: tuple[SensorSpec, ...] = ()
    longitude: float = 12.0
    data_every_s: float = 5.0  # 0: a message with every step
    interval_s: int = 60  # the heartbeat promise; 0: no heartbeats
    stamp: Stamp = "s"
    samples_per_message: int = 1
    habit: Habit = STEADY
    malformed: float = 0.0  # share of the data messages, 0 to 1
    qos: int = 1
    says_state_as_json: bool = False
    obeys: bool = False  # listens to commands on {base}/input, answers on /output


class Device:
    """A gateway (without sensors) or a datalogger.

    `next_at` is when it wants to be stepped again; `state` is "up", "silent" (it does
    not publish) or "crashed" (its socket is dead until `next_at`).
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.next_at = 0.0
        self.state: Literal["up", "silent", "crashed"] = "up"
        self._processes = [
            (sensor.key, process_of(sensor, profile.longitude))
            for sensor in profile.sensors
        ]
        self._rssi = Drift(
            SensorSpec("rssi", "", "", mean=-67), _RSSI, profile.longitude
        )
        self._battery = Battery()
        self._booted_at: float | None = None
        self._fails_at = float("inf")
        self._heartbeat_at = 0.0
        self._sample_at = 0.0
        self._last_ticks = 0
        self._pending: list[dict[str, object]] = []
        self._pending_values = 0

    def birth(self) -> Message:
        return self._status("online")

    def farewell(self) -> Message:
        """Return the will, which is also what a device says when it is switched off."""
        return self._status("offline")

    @property
    def command_topic(self) -> str:
        """Where it listens for commands; empty if it does not."""
        return f"{self.profile.base}/input" if self.profile.obeys else ""

    def answer(self, command: bytes, now: float) -> list[Message]:
        """Return its answer to a command; one that is silent or crashed gives none."""
        if self.state != "up":
            return []
        words = command[:ECHOED_BYTES].decode("utf-8", errors="replace")
        stamp = stamp_of(int(now * _PER_UNIT[self.profile.stamp]), self.profile.stamp)
        body = {"ts": stamp, "command": words, "result": "ok"}
        return [self._message("output", _encode(body), "output")]

    def announce_again(self) -> None:
        """Its link is new: the next step begins with a heartbeat."""
        self._heartbeat_at = 0.0
        if self.state == "up":
            self.next_at = 0.0

    def step(self, now: float, rng: Random) -> list[Message]:
        """Return what the device publishes at `now` (seconds since 1970, growing)."""
        if self._booted_at is None:
            self._boot(now, rng)
        if self.state != "up":
            if now < self.next_at:
                return []
            self._recover(now, rng)
        elif now >= self._fails_at:
            return self._fail(now, rng)
        messages = []
        if self.profile.interval_s and now >= self._heartbeat_at:
            messages.append(self._heartbeat(now, rng))
            self._heartbeat_at = now + self.profile.interval_s
        if self._processes:
            messages += self._measure(now, rng)
        self.next_at = min(self._next_regular(now), self._fails_at)
        return messages

    def _next_regular(self, now: float) -> float:
        heartbeat = self._heartbeat_at if self.profile.interval_s else float("inf")
        if not self._processes:
            return min(heartbeat, now + 60)
        return min(heartbeat, self._sample_at)

    def _boot(self, now: float, rng: Random) -> None:
        self._booted_at = now - rng.uniform(1, 30) * 86_400
        # Devices are not switched on all at once: spread over one period.
        self._sample_at = now + rng.random() * self.profile.data_every_s
        if self.profile.habit.kind != "steady":
            self._fails_at = now + self.profile.habit.first_after_s

    def _fail(self, now: float, rng: Random) -> list[Message]:
        habit = self.profile.habit
        self.state = "crashed" if habit.kind == "crashing" else "silent"
        self.next_at = now + habit.lasts_s * rng.uniform(0.9, 1.2)
        self._fails_at = self.next_at + habit.every_s * rng.uniform(0.8, 1.2)
        return []

    def _recover(self, now: float, rng: Random) -> None:
        if self.state == "crashed":
            self._booted_at = now - rng.uniform(2, 5)
            self._pending.clear()
            self._pending_values = 0
            self._sample_at = now
        self._heartbeat_at = now
        self.state = "up"

    def _measure(self, now: float, rng: Random) -> list[Message]:
        """Take the samples that are due; after an absence they leave in lists."""
        every_s = self.profile.data_every_s
        if not every_s:
            self._sample_at = now
            self._take(now, rng)
            return self._flush(rng)
        is_late = now - self._sample_at > max(LATE_S, 3 * every_s)
        if is_late and not self.profile.habit.keeps_readings:
            self._sample_at = now
        # Memory is a ring: what does not fit any more was overwritten.
        oldest = now - every_s * BUFFER_SAMPLES
        if is_late and self._sample_at < oldest:
            missed = int((oldest - self._sample_at) / every_s) + 1
            self._sample_at += missed * every_s
        messages: list[Message] = []
        most = BUFFER_SAMPLES + 1 if is_late else CATCH_UP_SAMPLES
        while self._sample_at <= now and most:
            most -= 1
            self._take(self._sample_at, rng)
            self._sample_at += every_s
            wanted = LIST_SAMPLES if is_late else self.profile.samples_per_message
            if len(self._pending) >= wanted:
                messages += self._flush(rng)
        if is_late:
            messages += self._flush(rng)
        return messages

    def _take(self, at: float, rng: Random) -> None:
        values: dict[str, Value] = {}
        for key, process in self._processes:
            value = process.sample(at, rng)
            if value is not None:
                values[key] = value
        # A reading is known by sensor, time and value: no two samples share a stamp.
        ticks = int(at * _PER_UNIT[self.profile.stamp])
        self._last_ticks = max(ticks, self._last_ticks + 1)
        stamp = stamp_of(self._last_ticks, self.profile.stamp)
        self._pending.append({"ts": stamp, "values": values})
        self._pending_values += len(values)

    def _flush(self, rng: Random) -> list[Message]:
        if not self._pending:
            return []
        body: object = self._pending if len(self._pending) > 1 else self._pending[0]
        values, self._pending = self._pending_values, []
        self._pending_values = 0
        if self.profile.malformed and rng.random() < self.profile.malformed:
            return [self._message("data", malformed(body, rng), "malformed")]
        return [self._message("data", _encode(body), "data", values)]

    def _heartbeat(self, now: float, rng: Random) -> Message:
        profile = self.profile
        body: dict[str, object] = {
            "ts": stamp_of(int(now * _PER_UNIT[profile.stamp]), profile.stamp),
            "serial": profile.serial,
            "label": profile.label,
            "firmware": FIRMWARE,
            "uptime": int(now - (self._booted_at or now)),
            "interval": profile.interval_s,
            "rssi": self._rssi.sample(now, rng),
            "battery": self._battery.sample(now, rng),
        }
        return self._message("heartbeat", _encode(body), "heartbeat")

    def _status(self, state: str) -> Message:
        says_json = self.profile.says_state_as_json
        payload = _encode({"state": state}) if says_json else state.encode()
        topic = f"{self.profile.base}/status"
        return Message(topic, payload, qos=1, retain=True, kind="status")

    def _message(
        self, topic: str, payload: bytes, kind: MessageKind, values: int = 0
    ) -> Message:
        full = f"{self.profile.base}/{topic}"
        qos = self.profile.qos
        return Message(full, payload, qos, retain=False, kind=kind, values=values)


def stamp_of(ticks: int, unit: Stamp) -> int | str:
    """Return a device's clock as it writes it: ticks of its unit, or text."""
    if unit == "iso":
        return f"{datetime.fromtimestamp(ticks, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return ticks


def malformed(body: object, rng: Random) -> bytes:
    """Return one of the ways in which real devices get a data message wrong."""
    good = _encode(body)
    return rng.choice(
        (
            good[: len(good) // 2],  # the modem's buffer was too short
            b'{"values": {"t_ext": NaN}}',  # a missing probe, printed by C
            b'{"values": [22.5, 51]}',  # a firmware nobody has met
            b'{"v": 99, "values": {"t_ext": 22.5}}',  # a version nobody has met
            b"\xff\xfe\x00" + good[:8],  # noise on the line
        )
    )


def _encode(body: object) -> bytes:
    return _JSON.encode(body).encode()
