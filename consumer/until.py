"""A source with an end: what lies beyond is never given out, wherever batches happen to be cut.

Each partition has a bound, an offset: the end of a time is the first message with that timestamp or a later one. It is
settled once, before the first message is read; only that of a time to come is found as the messages arrive.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .address import Address
from .batch import Batch
from .patience import Unavailable
from .place import Moment, Offsets, Place, Until
from .source import Source
from .topics import Nightly, Topics


class Bounded(Source):
    """A `Source` that ends; `time_of_day` counts seconds since 1970, and tells whether a time has come."""

    def __init__(
        self,
        topics: Topics | str,
        options: Mapping[str, Any],
        start: Place,
        dropped: Callable[[Address, bool], None],
        keyed: bool,
        until: Until,
        subscribed: Callable[[Sequence[str]], None] = lambda topics: None,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(topics, options, start, dropped, keyed, subscribed)
        self.until = until
        self.time_of_day = time_of_day
        self.bounds: dict[Address, int] = {}
        self.beyond: set[Address] = set()  # those of which a message beyond the bound was seen
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

    def range(self, address: Address) -> tuple[int, int]:
        """As `Source.range`; the partition's bound is settled with it."""
        low, high = super().range(address)
        if address not in self.bounds:
            self._bind(address, high)
        return low, high

    def open(self, address: Address, offset: int) -> None:
        """As `Source.open`."""
        super().open(address, offset)
        self.held = True
        self.beyond.discard(address)
        if self._reached(address):
            self._stop_reading([address])

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

    def lag(self) -> dict[Address, int]:
        """Messages not yet read before the bounds, by partition."""
        return {
            address: 0 if self._reached(address) else min(count, self._left(address, count))
            for address, count in super().lag().items()
        }

    def _bind(self, address: Address, high: int) -> None:
        if isinstance(self.until, Offsets):
            # A partition that the file doesn't have was begun by nobody when it was written.
            self.bounds[address] = self.until.of(address.name, isinstance(self.topics, Nightly)) or 0
        elif isinstance(self.until, Moment):
            found = self.at(address, self.until)
            if found is not None:
                self.bounds[address] = found
            elif self.time_of_day() * 1000 >= self.until.milliseconds:
                self.bounds[address] = high  # read before it was asked: all of them are earlier
        else:
            self._bind_all()
            self.bounds.setdefault(address, high)

    def _bind_all(self) -> None:
        for address in self.partitions():
            if address not in self.bounds:
                self.bounds[address] = super().range(address)[1]

    def _look_at_the_clock(self) -> None:
        """A time that has come since: partitions that have nothing as late as that are through, too."""
        if isinstance(self.until, Moment) and self.time_of_day() * 1000 >= self.until.milliseconds:
            try:
                for address in self.positions.keys() - self.bounds.keys():
                    self.range(address)
            except Unavailable:
                pass  # asked again the next time

    def _cut(self, batch: Batch) -> Batch:
        """What lies before the bound."""
        address = batch.address
        if address not in self.bounds and isinstance(self.until, Moment):
            late = np.flatnonzero(np.array(batch.timestamps) >= self.until.milliseconds)
            if len(late):
                self.bounds[address] = batch.offsets[late[0]]
        bound = self.bounds.get(address)
        if bound is None or batch.following < bound:
            return batch
        kept, _ = batch.split(bound)
        self._stop_reading([address])
        self.beyond.add(address)
        # Without any message nothing is given out, and so nobody gets any further.
        self.positions[address] = kept.following if kept.values else batch.first
        return kept

    def _reached(self, address: Address) -> bool:
        bound = self.bounds.get(address)
        return address in self.beyond or (bound is not None and self._position(address) >= bound)

    def _left(self, address: Address, otherwise: int) -> int:
        bound = self.bounds.get(address)
        return otherwise if bound is None else bound - self._position(address)

    def _position(self, address: Address) -> int:
        return max(self.positions[address], self.ends.get(address, 0))
