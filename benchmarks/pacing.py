"""A worker that is offered events at a fixed rate, simulated turn by turn: how late they would be on its board.

It waits for messages as `consumer.pace.Pace` has it (that class itself), then takes a batch of each partition, one
after the other; an event is on the board when its batch is.
"""

from typing import NamedTuple

import numpy as np

from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch
from skimstream.consumer.config import load_settings
from skimstream.consumer.pace import Pace

SETTLED = 0.2  # of the events; as in what is measured, what comes before isn't counted
MESSAGE = b"x" * 250


class Costs(NamedTuple):
    """Seconds that a batch takes whatever is in it, and each event in it."""

    batch: float
    event: float


def delays(rate: float, seconds: float, partitions: int, costs: Costs) -> tuple[float, float]:
    """Median and 99th percentile of the delays, in seconds.

    >>> [round(one, 3) for one in delays(1_000.0, 5.0, 4, Costs(batch=0.0, event=0.0))]
    [0.01, 0.02]
    """
    settings = load_settings(None, {}).batch
    pace = Pace(settings.size, settings.seconds, settings.most)
    now, taken, total = 0.0, 0, int(rate * seconds)
    found = []
    while taken < total:
        now = max(now, min(now + pace.seconds, (taken + pace.size) / rate))
        count = min(pace.size, total - taken, int(now * rate) + 1 - taken)
        due = (taken + np.arange(count)) / rate
        batches, began = [], now
        for number in range(min(partitions, count)):
            its = due[number::partitions]
            now += costs.batch + len(its) * costs.event
            found.append(now - its)
            batches.append(Batch(Address("", number), 0, 0, [], [MESSAGE] * len(its), []))
        pace.took(batches, now - began)
        taken += count
    late = np.concatenate(found)[int(SETTLED * total) :]
    return float(np.percentile(late, 50)), float(np.percentile(late, 99))
