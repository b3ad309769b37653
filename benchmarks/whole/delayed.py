"""Skimstream's worker, and how late each event was on the board: `python -m whole.delayed SPEC`.

Says "ready" once all partitions are open. A delay is from the time that an event bears to the return of its commit.
"""

import json
import sys
import time

import numpy as np

from skimstream.cli.run import settle
from skimstream.consumer.batch import Batch
from skimstream.consumer.config import load_settings
from skimstream.consumer.partition import Partition
from skimstream.consumer.run import run as run_worker
from skimstream.consumer.worker import Worker
from whole.ours import settings_of
from whole.spec import Spec

IDLE_SECONDS = 10.0  # no event for so long: there won't be any more
SETTLED = 0.2  # of the events; what comes before starts a stream that had nothing to do, and isn't counted
SHARES = {"p50_ms": 50.0, "p99_ms": 99.0, "p999_ms": 99.9}


def main() -> None:
    """Until all events were committed."""
    spec = Spec(**json.loads(sys.argv[1]))
    made: list[Worker] = []
    delays: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    last, said = [time.time()], [False]

    class Watched(Worker):
        def process(self, partition: Partition, batch: Batch) -> None:
            super().process(partition, batch)
            last[0] = time.time()
            delays.append(1000 * last[0] - np.array(batch.timestamps, np.float64))

    def done() -> bool:
        if not said[0] and made and len(made[0].partitions) == spec.partitions:
            said[0], last[0] = True, time.time()
            print("ready", flush=True)
        over = bool(made) and made[0].tally.consumed >= spec.events
        return over or (said[0] and time.time() - last[0] > IDLE_SECONDS)

    settings = load_settings(None, settings_of(spec))
    run_worker(
        settings,
        spec.load(),
        done,
        ready=lambda port, problem: settle(),
        make=Watched,
        began=made.append,
    )
    found = np.concatenate(delays)
    settled = found[int(SETTLED * len(found)) :]
    shares = {name: round(float(np.percentile(settled, share)), 1) for name, share in SHARES.items()}
    print(json.dumps({**shares, "events": len(found), "batches": len(delays)}))


if __name__ == "__main__":
    main()
