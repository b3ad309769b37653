"""One, two and four workers of a group on a topic of twelve partitions, on the cores that there are.

Each is `skim run` as a process of its own. Time runs from the first message sent, once every worker has its share of
the partitions, to the moment at which the board has all; the producer, the broker and Redis are on the same cores.
"""

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from skimstream.consumer.board import read_offsets
from soaking.member import Member
from whole.arena import Arena

WORKERS, PARTITIONS = (1, 2, 4), 12
REPEATS = {False: 3, True: 1}
TIMEOUT, STEP = 300.0, 0.02


def scaling(arena: Arena, stream: str, messages: list[bytes], quick: bool) -> dict[str, dict[str, float]]:
    """By number of workers: events a second, microseconds of CPU an event of all of them, and the speed of one's."""
    runs: dict[int, list[tuple[float, float]]] = {count: [] for count in WORKERS}
    for turn in range(REPEATS[quick]):
        for count in WORKERS:
            runs[count].append(_one(arena, stream, f"{stream}-{turn}-by-{count}", count, messages))
            rate, cpu = runs[count][-1]
            print(f"  {count} workers: {rate:,.0f} events/s, {cpu:.1f} us CPU an event", file=sys.stderr)
    alone = statistics.median(rate for rate, _ in runs[WORKERS[0]])
    return {
        str(count): {
            "events_per_second": round(statistics.median(rate for rate, _ in found)),
            "cpu_us": round(statistics.median(cpu for _, cpu in found), 1),
            "times_one": round(statistics.median(rate for rate, _ in found) / alone, 2),
        }
        for count, found in runs.items()
    }


def _one(arena: Arena, stream: str, topic: str, count: int, messages: list[bytes]) -> tuple[float, float]:
    arena.empty()
    arena.broker.create_topic(topic, PARTITIONS)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, arena.store.client() as store:
        members = [Member(f"w{i}", arena.bootstrap, arena.store.url, topic, Path(folder)) for i in range(count)]
        for member in members:
            stack.enter_context(member)
        _until(lambda: [_told(one, "skim_partitions_assigned") for one in members] == [PARTITIONS / count] * count)
        before, began = sum(_told(one, "process_cpu_seconds_total") for one in members), time.perf_counter()
        arena.send(topic, PARTITIONS, messages)
        _until(lambda: sum(read_offsets(store, stream).values()) == len(messages))
        took = time.perf_counter() - began
        cpu = sum(_told(one, "process_cpu_seconds_total") for one in members) - before
    return len(messages) / took, 1e6 * cpu / len(messages)


def _told(member: Member, name: str) -> float:
    for family in text_string_to_metric_families(member.metrics()):
        for sample in family.samples:
            if sample.name == name:
                return float(sample.value)
    raise KeyError(name)


def _until(there: Any) -> None:
    end = time.monotonic() + TIMEOUT
    while not there():
        if time.monotonic() > end:
            raise SystemExit(f"not there after {TIMEOUT:.0f} s")
        time.sleep(STEP)
