"""Memory and time with many users: `python -m whole.keys USERS REDIS`; the last line is JSON.

One partition with Skimstream's own limits goes through as many events as there are users, each of a user never seen
before, with a checkpoint every `CHECKPOINT` events; then through events of users drawn from all of them, most of whom
have to be called back from Redis. Events are those of real messages, with other names.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import redis

from skimstream.cli.models import load_model
from skimstream.consumer.address import Address
from skimstream.consumer.checkpoint import Checkpoints
from skimstream.consumer.memory import Memory
from skimstream.consumer.partition import Partition
from skimstream.consumer.streams.registry import stream_of
from skimstream.schemas.columns import Columns
from skimstream.schemas.decode import Decoder
from whole.arena import ROOT, Arena, workload
from whole.spec import peak

USERS = {False: (100_000, 1_000_000, 5_000_000), True: (10_000, 100_000)}
BATCH, DIGITS = 4_000, 10
CHECKPOINT = 100_000  # 10 s of 10,000 events a second
BACK = 100_000  # events of users known before
WARM = 2 * BATCH
MIB = 1 << 20


def keys(arena: Arena, quick: bool) -> dict[str, dict[str, float]]:
    """By number of users, what a process of its own said."""
    found = {}
    for users in USERS[quick]:
        arena.empty()
        command = [sys.executable, "-m", "whole.keys", str(users), arena.store.url]
        done = subprocess.run(  # noqa: S603 (its own)
            command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
        )
        found[str(users)] = json.loads(done.stdout.splitlines()[-1])
        print(f"  {users:,} users: {found[str(users)]}", file=sys.stderr)
    arena.empty()
    return found


class Crowd:
    """A partition, and events for it."""

    def __init__(self, store: redis.Redis) -> None:
        stream, model = stream_of("behaviour"), load_model("behaviour", None)
        self.memory = Memory(Checkpoints(store, "keys"), time.time)
        address = Address("keys", 0)
        begun = self.memory.checkpoints.begin(address.name, 0, model.id)
        self.partition = Partition(address, stream, model, begun)
        decoder = Decoder(stream.wanted, stream.framing, stream.schema())
        self.columns = decoder.decode(list(workload("behaviour", BATCH)[0])).columns
        assert (self.columns.text("user_id").length == DIGITS).all()

    def of(self, users: np.ndarray[Any, np.dtype[np.int64]]) -> Columns:
        """As many events as users, at most a batch: those of these users, who are written over the others' names."""
        columns = self.columns.take(np.arange(len(users)))
        buffer, start = columns.buffer.copy(), columns.text("user_id").start
        buffer[start[:, None] + np.arange(DIGITS)] = users[:, None] // 10 ** np.arange(DIGITS)[::-1] % 10 + ord("0")
        return replace(columns, buffer=buffer)

    def take(self, users: np.ndarray[Any, np.dtype[np.int64]]) -> float:
        """All of these, in batches, as a worker does it; seconds of CPU."""
        spent = 0.0
        for at in range(0, len(users), BATCH):
            columns = self.of(users[at : at + BATCH])
            began = time.process_time()
            partition = self.partition
            if partition.learned - partition.fence.learned >= CHECKPOINT or not partition.fits(len(columns)):
                self.memory.save(partition)
            self.memory.recall(partition, columns)
            partition.features(columns)
            partition.learned += len(columns)
            spent += time.process_time() - began
        return spent


def main() -> None:
    """As many users as asked for, then some of them again."""
    users, url = int(sys.argv[1]), sys.argv[2]
    with redis.Redis.from_url(url) as store:
        crowd = Crowd(store)
        crowd.take(users + np.arange(WARM))  # what is compiled once
        new = crowd.take(np.arange(users))
        back = crowd.take(np.random.default_rng(1).integers(0, users, BACK))
        entities = crowd.partition.state.entities
        assert entities is not None
        memory: Any = store.info("memory")
        report = {
            "in_memory": entities.keys.tracked,
            "state_mib": crowd.partition.state.state_bytes / MIB,
            "resident_mib": resident(),
            "peak_mib": peak(),
            "redis_mib": memory["used_memory"] / MIB,
            "new_us": 1e6 * new / users,
            "back_us": 1e6 * back / BACK,
        }
    print(json.dumps({name: round(value, 1) for name, value in report.items()}))


def resident() -> float:
    """MiB of this process, now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


if __name__ == "__main__":
    main()
