from __future__ import annotations

from random import Random
from zoneinfo import ZoneInfo

from apps.devices.payloads import describe
from apps.telemetry.facts import Unclaimed
from apps.telemetry.protocols.decode import decode
from project.demo import DEMO_SITES
from workers.fleet.foreign import EVERY_S, foreign_crews

NOW = 1_763_547_000.0


def test_nobody_understands_it_and_everything_in_it_can_be_found():
    [slot] = foreign_crews(DEMO_SITES[:1], seed=1)[0].slots

    messages = [slot.device.birth(), *slot.device.step(NOW, Random(1))]

    for message in messages:
        fact = decode(
            "site_001",
            message.topic.encode(),
            message.payload,
            received_us=int(NOW * 1e6),
            zone=ZoneInfo("UTC"),
        )
        assert isinstance(fact, Unclaimed)
        assert not message.retain
    kinds = {m.topic.rpartition("/")[2]: describe(m.payload) for m in messages}
    assert kinds["temperature"].content_type == "number"
    paths = {found.path for found in kinds["em"].paths}
    assert {"$.em[0].power", "$.total_kwh", "$.time"} <= paths


def test_it_keeps_its_pace():
    [slot] = foreign_crews(DEMO_SITES[:1], seed=1)[0].slots

    slot.device.step(NOW, Random(1))

    assert slot.device.step(NOW + EVERY_S / 2, Random(1)) == []
    assert slot.device.step(NOW + EVERY_S, Random(1))
