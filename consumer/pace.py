"""How large the next batch may be, and how long it is waited for: no score depends on either.

Under load batches grow, since each partition's batch costs a round trip and a millisecond or two whatever its size;
with little to do they are small and soon, so that an event is on the board tens of milliseconds after it came.
"""

import math
from collections.abc import Sequence

from .batch import Batch

# A batch is in memory several times: as it came, decoded, as features. A ZTF alert has 75 kB, so 850 of them are this.
MOST_BYTES = 64 << 20
# Turns of the loop a second while nothing comes: 50, some permille of a core.
LEAST_SECONDS = 0.02
# Batches are waited for that many times as long as they cost by themselves, whatever is in them: then that is no more
# than a quarter of the time, however many partitions share the messages. What is in them adds no wait, only work.
PATIENCE = 3.0


class Pace:
    """`size`: messages that the next batches may have together. `seconds`: how long they are waited for.

    They begin at `size`, may grow to `most` as long as all of it comes, and shrink again to `size`; `seconds` is the
    longest wait.

    >>> pace = Pace(500, 0.1, most=4_000)
    >>> pace.took([], 0.0)
    >>> pace.size, pace.seconds
    (500, 0.02)
    """

    def __init__(self, size: int, seconds: float, most: int) -> None:
        self.least = self.size = size
        self.most = max(size, most)
        self.longest = self.seconds = seconds
        self.cost = math.inf  # seconds, the least that a batch has taken

    def took(self, batches: Sequence[Batch], seconds: float) -> None:
        """The last batches, and how long they took."""
        count = sum(len(batch.values) for batch in batches)
        if count >= self.size:
            weight = sum(sum(map(len, filter(None, batch.values))) for batch in batches) / count
            bearable = int(MOST_BYTES / weight) if weight else self.most
            self.size = max(self.least, min(2 * self.size, self.most, bearable))
        elif count < self.size // 4:
            self.size = max(self.least, self.size // 2)
        self.seconds = min(self.longest, LEAST_SECONDS)
        if batches:
            self.cost = min(self.cost, seconds / len(batches))
            self.seconds = min(self.longest, max(LEAST_SECONDS, PATIENCE * self.cost * len(batches)))
