"""A source with an end: what lies beyond is never given out, wherever batches happen to be cut.

Each partition has a bound, an offset: the end of a time is the first message with that timestamp or a later one. It is
settled once, before the first message is read; only that of a time to come is found as the messages arrive.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .batch import Batch, partition_name
from .patience import Unavailable
from .place import Moment, Offsets, Place, Until
from .source import Source


class Bounded(Source):
    """A `Source` that ends; `clock` counts seconds since 1970, and tells whether a time has come."""

    def __init__(
        self,
        topic: str,
        options: Mapping[str, Any],
        start: Place,
        dropped: Callable[[int, bool], None],
        keyed: bool,
        until: Until,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(topic, options, start, dropped, keyed)
        self.until = until
        self.clock = clock
        self.bounds: dict[int, int] = {}
        self.beyond: set[int] = set()  # those of which a message beyond the bound was seen
        self.held = False  # whether any partition was ever ours
        self.idling = False

    def __enter__(self) -> "Bounded":
        super().__enter__()
        if self.until == "now":
            try:
                self._bind_all()
            except Unavailable:
                pass  # now is when a broker answers, then
        return self

    def range(self, partition: int) -> tuple[int, int]:
        """As `Source.range`; the partition's bound is settled with it."""
        low, high = super().range(partition)
        if partition not in self.bounds:
            self._bind(partition, high)
        return low, high

    def open(self, partition: int, offset: int) -> None:
        """As `Source.open`."""
        super().open(partition, offset)
        self.held = True
        self.beyond.discard(partition)
        if self._reached(partition):
            self._stop_reading([partition])

    def batches(self, size: int, seconds: float) -> list[Batch]:
        """As `Source.batches`, up to the bounds. To ask for more is to be done with those before."""
        if not self.idling:
            self._look_at_the_clock()
            ours = not self.waiting and not self.astray
            self.through = self.held and ours and all(self._reached(one) for one in self.positions)
        found = [self._cut(batch) for batch in super().batches(size, seconds)]
        return [batch for batch in found if batch.values]

    def idle(self, seconds: float) -> None:
        """As `Source.idle`: nothing that was given out is done with."""
        self.idling = True
        try:
            super().idle(seconds)
        finally:
            self.idling = False

    def lag(self) -> dict[int, int]:
        """Messages not yet read before the bounds, by partition."""
        return {
            partition: 0 if self._reached(partition) else min(count, self._left(partition, count))
            for partition, count in super().lag().items()
        }

    def _bind(self, partition: int, high: int) -> None:
        if isinstance(self.until, Offsets):
            # A partition that the file doesn't have was begun by nobody when it was written.
            self.bounds[partition] = self.until.of(partition_name(self.topic, partition)) or 0
        elif isinstance(self.until, Moment):
            found = self.at(partition, self.until)
            if found is not None:
                self.bounds[partition] = found
            elif self.clock() * 1000 >= self.until.milliseconds:
                self.bounds[partition] = high  # read before it was asked: all of them are earlier
        else:
            self._bind_all()
            self.bounds.setdefault(partition, high)

    def _bind_all(self) -> None:
        for partition in range(self.partition_count()):
            if partition not in self.bounds:
                self.bounds[partition] = super().range(partition)[1]

    def _look_at_the_clock(self) -> None:
        """A time that has come since: partitions that have nothing as late as that are through, too."""
        if isinstance(self.until, Moment) and self.clock() * 1000 >= self.until.milliseconds:
            try:
                for partition in self.positions.keys() - self.bounds.keys():
                    self.range(partition)
            except Unavailable:
                pass  # asked again the next time

    def _cut(self, batch: Batch) -> Batch:
        """What lies before the bound."""
        partition = batch.partition
        if partition not in self.bounds and isinstance(self.until, Moment):
            late = np.flatnonzero(np.array(batch.timestamps) >= self.until.milliseconds)
            if len(late):
                self.bounds[partition] = batch.offsets[late[0]]
        bound = self.bounds.get(partition)
        if bound is None or batch.following < bound:
            return batch
        kept, _ = batch.split(bound)
        self._stop_reading([partition])
        self.beyond.add(partition)
        # Without any message nothing is given out, and so nobody gets any further.
        self.positions[partition] = kept.following if kept.values else batch.first
        return kept

    def _reached(self, partition: int) -> bool:
        bound = self.bounds.get(partition)
        return partition in self.beyond or (bound is not None and self._position(partition) >= bound)

    def _left(self, partition: int, otherwise: int) -> int:
        bound = self.bounds.get(partition)
        return otherwise if bound is None else bound - self._position(partition)

    def _position(self, partition: int) -> int:
        return max(self.positions[partition], self.ends.get(partition, 0))
