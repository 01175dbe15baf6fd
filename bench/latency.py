"""How long a message takes: until it is committed, and until a browser has it.

Each message says when it was sent. PostgreSQL remembers when it committed each row
(`track_commit_timestamp`), and a listener notes when each event arrived: a message has
arrived with the first event that holds its value, or a newer one of its sensor.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from bench.results import Result, percentile
from bench.stage import Stage

RATES = (100, 1_000, 5_000)
GOAL_RATE, COMMIT_GOAL_MS, EVENT_GOAL_MS = 1_000, 50, 700
SITES = 4

COMMITTED = """
SELECT r.sensor_id, (extract(epoch FROM r.measured_at) * 1e6)::bigint,
    (extract(epoch FROM pg_xact_commit_timestamp(r.xmin)) * 1e6)::bigint
FROM telemetry_reading r JOIN devices_sensordevice s ON s.id = r.sensor_id
JOIN devices_datalogger d ON d.id = s.datalogger_id
WHERE s.key = 't_ext' AND d.type = '{name}'
"""

Sent = tuple[int, int, int]  # sensor, sent_us, committed_us
Heard = dict[int, list[tuple[int, int]]]  # sensor -> (at_us of a value, arrived_us)


def measure(*, quick: bool) -> list[Result]:
    seconds = 3 if quick else 20
    results: list[Result] = []
    with Stage(commit_times=True) as stage:
        codes = stage.make_sites(SITES)
        with stage.web() as url, stage.worker():
            stage.warm_up(codes)
            for rate in RATES:
                results += _at(stage, url, codes, rate, seconds)
    return results


def _at(
    stage: Stage, url: str, codes: list[str], rate: int, seconds: int
) -> list[Result]:
    name = f"at{rate}"
    with listening(stage, url) as heard:
        plan = stage.plan(codes, rate * seconds, rate, live=True, name=name)
        published = stage.publish(plan)
        stage.settle()
        time.sleep(1.0)  # the last values are told within half a second
    sent = committed(stage, name)
    commit_ms = [(done - at) / 1e3 for _, at, done in sent]
    event_ms = arrivals(sent, heard)
    if len(event_ms) < len(sent):
        print(
            f"  {len(sent) - len(event_ms)} of {len(sent)} values were never heard of"
        )
    is_goal = rate == GOAL_RATE
    note = f"published {published.rate:,.0f}/s"
    return [
        Result(
            f"publish -> committed, {rate}/s, p50", percentile(commit_ms, 0.5), "ms"
        ),
        Result(
            f"publish -> committed, {rate}/s, p99",
            percentile(commit_ms, 0.99),
            "ms",
            at_most=COMMIT_GOAL_MS if is_goal else None,
            note=note,
        ),
        Result(f"publish -> browser, {rate}/s, p50", percentile(event_ms, 0.5), "ms"),
        Result(
            f"publish -> browser, {rate}/s, p99",
            percentile(event_ms, 0.99),
            "ms",
            at_most=EVENT_GOAL_MS if is_goal else None,
            note="events are coalesced for 500 ms",
        ),
    ]


def committed(stage: Stage, name: str) -> list[Sent]:
    """Return each message of a generator of that name, by its one temperature."""
    rows = stage.sql(COMMITTED.format(name=name))
    return [(int(str(a)), int(str(b)), int(str(c))) for a, b, c in rows]


def arrivals(sent: list[Sent], heard: Heard) -> list[float]:
    """Return how long each message took, in ms; without what never arrived."""
    first: dict[int, tuple[list[int], list[int]]] = {}
    for sensor, values in heard.items():
        ordered = sorted(values, key=lambda value: value[1])
        newest: list[int] = []
        arrived: list[int] = []
        for at_us, arrived_us in ordered:
            if not newest or at_us > newest[-1]:
                newest.append(at_us)
                arrived.append(arrived_us)
        first[sensor] = (newest, arrived)
    taken = []
    for sensor, at_us, _ in sent:
        newest, arrived = first.get(sensor, ([], []))
        place = bisect_left(newest, at_us)
        if place < len(arrived):
            taken.append((arrived[place] - at_us) / 1e3)
    return taken


@contextmanager
def listening(
    stage: Stage, url: str, codes: list[str] | None = None
) -> Iterator[Heard]:
    """Listen to the streams of these sites, or all; at the end it is there."""
    sites = [
        str(pk)
        for pk, code in stage.sql("SELECT id, code FROM sites_site")
        if codes is None or code in codes
    ]
    heard: Heard = defaultdict(list)
    with stage.listener(url, sites) as events:
        yield heard
    for arrived_us, event in events:
        for sensor, at_us in event:
            heard[sensor].append((at_us, arrived_us))
