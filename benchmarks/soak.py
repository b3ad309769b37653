"""Workers that run for hours, with faults: does anything grow? `make soak HOURS=8`; the last line is JSON.

Two real workers of one group on a real Kafka and a Redis of their own, web sessions without end at a fixed rate. One
worker is left alone and looked at: memory, threads, descriptors, and how long events take to the board. Around it,
in turn, every `--fault` seconds: the other worker is killed (`kill -9`) and started again, Redis is frozen, Redis is
killed and comes back from its log, the other worker is frozen until it has lost its partitions. What was produced and
what the board's offsets come to is compared in the end.

Memory's slope is fitted, by least squares, to what is left of the run after warming up (a fifth of it, at most half an
hour). The 99th percentile is that of the run's first quarter after warming up, and of its last; the seconds around
a fault are left out of it, since nothing is applied while Redis is away.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from confluent_kafka import Consumer, TopicPartition

from brokers.kafka import Kafka
from brokers.redis import RedisServer
from skimstream.consumer.board import read_offsets
from soaking.faults import Faults
from soaking.look import Look, look_at, percentile, slope
from soaking.member import Member

SKIM = str(Path(sys.executable).with_name("skim"))
TOPIC, PARTITIONS = "soak", 4
LOOK_SECONDS = 5.0
WARM_SHARE, WARM_SECONDS = 0.2, 1_800.0
# A fault's consequences: a session that times out (6 s), what has piled up, twice for good measure.
AFTER_FAULT_SECONDS = 30.0


def main() -> None:
    """Run it, and say what grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    parser.add_argument("--fault", type=float, default=120.0, help="seconds between faults")
    given = parser.parse_args()
    seconds = given.hours * 3_600
    with tempfile.TemporaryDirectory(prefix="skim-soak-") as folder, ExitStack() as stack:
        kafka = stack.enter_context(Kafka())
        store = stack.enter_context(RedisServer(appendonly="yes", appendfsync="everysec"))
        kafka.create_topic(TOPIC, PARTITIONS)
        for suffix in (".dlq", ".truth"):
            kafka.create_topic(TOPIC + suffix, 1)
        steady, other = (Member(name, kafka.bootstrap, store.url, TOPIC, Path(folder)) for name in ("steady", "other"))
        for member in (steady, other):
            stack.enter_context(member)
        faults = Faults(store, other)
        with producing(kafka.bootstrap, given.rate):
            looks, at_fault = soak(steady, faults, seconds, given.fault)
        sent, lost = drained(kafka, store)
    print(json.dumps(told(looks, at_fault, seconds, given.rate) | {"faults": faults.done, "sent": sent, "lost": lost}))
    sys.exit(1 if lost else 0)


@contextmanager
def producing(bootstrap: str, rate: int) -> Iterator[None]:
    """Sessions without end, from a process of their own."""
    command = [SKIM, "simulate", "behaviour", "--topic", TOPIC, "--kafka", bootstrap, "--rate", str(rate)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--count", str(1 << 40), "--users", "20000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def soak(steady: Member, faults: Faults, seconds: float, every: float) -> tuple[list[Look], list[float]]:
    """All looks at the steady worker, and when there were faults; times are seconds since the start."""
    looks, at_fault, began = list[Look](), list[float](), time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        looks.append(look_at(now, steady.pid, steady.metrics()))
        if now > every * (len(at_fault) + 1) and now < seconds - AFTER_FAULT_SECONDS:
            at_fault.append(now)
            print(f"{now / 3600:7.3f} h: {faults.next()}", file=sys.stderr)
        elif len(looks) % 12 == 0:
            last = looks[-1]
            print(
                f"{now / 3600:7.3f} h: {last.resident / 2**20:.1f} MiB, {last.threads} threads, "
                f"{last.descriptors} descriptors, {last.applied:,.0f} events",
                file=sys.stderr,
            )
        time.sleep(max(0.0, LOOK_SECONDS * len(looks) - (time.monotonic() - began)))
    return looks, at_fault


def drained(kafka: Kafka, store: RedisServer, seconds: float = 120.0) -> tuple[int, int]:
    """How many events the topic has, and how many of them the board doesn't reflect once nothing more comes."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "looks-on"})
    highs = [consumer.get_watermark_offsets(TopicPartition(TOPIC, one), timeout=30)[1] for one in range(PARTITIONS)]
    consumer.close()
    until, left = time.monotonic() + seconds, sum(highs)
    while left and time.monotonic() < until:
        with store.client() as client:
            left = sum(highs) - sum(read_offsets(client, "behaviour").values())
        time.sleep(0.5)
    return sum(highs), left


def told(looks: list[Look], at_fault: list[float], seconds: float, rate: int) -> dict[str, object]:
    """The figures: what memory gains an hour, what else changed, and how the latency moved."""
    warm = min(WARM_SHARE * seconds, WARM_SECONDS)
    after = [one for one in looks if one.at >= warm]
    quarter = (seconds - warm) / 4

    def worst(begin: float) -> float:
        return percentile(after, 0.99, lambda at: begin <= at < begin + quarter and quiet(at, at_fault))

    first, last = worst(warm), worst(seconds - quarter)
    return {
        "hours": round(seconds / 3_600, 3),
        "events_per_second": rate,
        "resident_mib": round(statistics.median(one.resident for one in after) / 2**20, 1),
        "resident_mib_per_hour": round(slope(after) * 3_600 / 2**20, 3),
        "threads": sorted({one.threads for one in after}),
        "descriptors": sorted({one.descriptors for one in after}),
        "p99_seconds": [round(first, 4), round(last, 4)],
        "p99_drift": round(last / first - 1, 3) if first else None,
        "load": [round(one, 2) for one in os.getloadavg()],
    }


def quiet(at: float, at_fault: list[float]) -> bool:
    """Whether a moment is far enough from all faults."""
    return all(not fault - LOOK_SECONDS <= at <= fault + AFTER_FAULT_SECONDS for fault in at_fault)


if __name__ == "__main__":
    main()
