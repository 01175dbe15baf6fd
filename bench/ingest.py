"""Messages stored a second: one worker, the documents' way, and paho on its own.

One machine, one run: the same broker, the same PostgreSQL with its default durability,
the same messages (QoS 1, two values each), the generator beside it. Messages a second
are counted from the first publish until a query sees the last one stored (paho: until
the last one was received).

Each way is asked for more and more, until it does not follow any more: a broker whose
queue grows to the whole run would be measured instead of what is behind it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from bench.results import Result
from bench.stage import LOGIN, ROOT, CpuMeter, Published, Stage, until

GOAL_RATE, GOAL_RATIO = 20_000, 70
SITES = 4
FOLLOWS = 0.9  # of what was published a second; less is not following
WORKER_RATES = (16_000, 20_000, 23_000, 26_000, 30_000)
PAHO_RATES = (8_000, 12_000, 16_000, 20_000)

# Where the bare way saves, and when each way stored its last message, Unix time.
TABLE = (
    "CREATE TABLE bench_message (id bigserial PRIMARY KEY, topic text NOT NULL, "
    "payload jsonb NOT NULL, received_at timestamptz NOT NULL)"
)
REFERENCES = {
    "sketch": "SELECT extract(epoch FROM max(current_at)) FROM devices_sensordevice",
    "bare": "SELECT extract(epoch FROM max(received_at)) FROM bench_message",
}

Run = Callable[[float], tuple[Published, float]]  # rate -> what was sent, done a second


def measure(*, quick: bool) -> list[Result]:
    seconds = 1.0 if quick else 5.0
    with Stage() as stage:
        codes = stage.make_sites(SITES)
        stored, shares = _worker(stage, codes, seconds)
        stage.end_sessions()
        received = _paho(stage, codes, seconds)
        few = 300 if quick else 2_000
        stage.sql(TABLE)
        sketch = _reference(stage, codes, few, "sketch")
        bare = _reference(stage, codes, few, "bare")
    unit = "messages/s"
    return [
        Result("one worker stores", stored, unit, at_least=GOAL_RATE, note=shares),
        Result("times the documents' way", stored / sketch, "", at_least=GOAL_RATIO),
        Result("the documents' way", sketch, unit, note="devices saved one by one"),
        Result("one bare ORM save a message", bare, unit),
        Result("paho alone receives", received, unit, note="and does nothing with it"),
        Result("one worker, of what paho receives", stored / received, "times"),
    ]


def fastest(run: Run, rates: Sequence[float]) -> float:
    """Return the most that was done a second, asking for more while it follows."""
    best = 0.0
    for rate in rates:
        published, done = run(rate)
        best = max(best, done)
        print(
            f"  asked {rate:,}/s, published {published.rate:,.0f}/s, did {done:,.0f}/s"
        )
        if done < FOLLOWS * rate:
            break
    return best


# -- one worker --------------------------------------------------------------------


def _worker(stage: Stage, codes: list[str], seconds: float) -> tuple[float, str]:
    shares: list[str] = []
    with stage.worker() as process:
        stage.warm_up(codes)

        def run(rate: float) -> tuple[Published, float]:
            done, words = store(stage, codes, int(rate * seconds), rate, process.pid)
            shares.append(words)
            return done

        best = fastest(run, WORKER_RATES)
    rows = stage.number("SELECT count(*) FROM telemetry_reading")
    stored = stage.number("SELECT sum(stored) FROM sites_connectionstats")
    if rows != 2 * stored:
        message = f"{rows:,.0f} readings of {stored:,.0f} messages"
        raise SystemExit(message)
    return best, shares[-1]


def store(
    stage: Stage, codes: list[str], messages: int, rate: float, worker: int
) -> tuple[tuple[Published, float], str]:
    """Publish and wait until it is stored; return messages/s, and who used what CPU."""
    total = "SELECT sum(stored + duplicate) FROM sites_connectionstats"
    goal = stage.number(total) + messages
    meter = CpuMeter.of(
        worker=worker,
        postgres=stage.pid_of(stage.postgres),
        broker=stage.pid_of(stage.broker),
    )
    published = stage.publish(stage.plan(codes, messages, rate))
    until(lambda: stage.number(total) >= goal, "everything is stored", 600)
    took = time.time() - published.began
    used = {**meter.used(), "generator": published.cpu_s}
    words = ", ".join(f"{name} {cpu / took:.2f}" for name, cpu in used.items())
    return (published, messages / took), f"cores: {words}"


# -- paho --------------------------------------------------------------------------


def _paho(stage: Stage, codes: list[str], seconds: float) -> float:
    def run(rate: float) -> tuple[Published, float]:
        messages = int(rate * seconds)
        command = [sys.executable, "-m", "bench.paho", str(stage.broker.port)]
        with subprocess.Popen(
            [*command, *LOGIN, str(messages)],
            cwd=ROOT,
            env=stage.env,
            stdout=subprocess.PIPE,
            text=True,
        ) as receiver:
            assert receiver.stdout is not None
            receiver.stdout.readline()  # it has subscribed
            published = stage.publish(stage.plan(codes, messages, rate))
            ended = float(json.loads(receiver.stdout.readline()))
        return published, messages / (ended - published.began)

    return fastest(run, PAHO_RATES)


# -- the documents' way ------------------------------------------------------------


def _reference(stage: Stage, codes: list[str], messages: int, way: str) -> float:
    """Store the same messages in the callback; see bench.reference."""
    port = str(stage.broker.port)
    python = f"python -m bench.reference {port} {','.join(codes)}"
    done = REFERENCES[way]
    with stage.process(f"{python} {LOGIN[0]} {LOGIN[1]} {way}"):
        stage.sql("UPDATE devices_sensordevice SET current_at = now()")
        at_rest = stage.number(done)
        while stage.number(done) == at_rest:  # until it has subscribed
            stage.publish(stage.plan(codes, 1, 100))
            time.sleep(0.3)
        settled = time.time()
        published = stage.publish(stage.plan(codes, messages, 1_000))
        last = 0.0
        while last < (last := stage.number(done)) or time.time() < settled + 2:
            time.sleep(1)
    return messages / (last - published.began)
