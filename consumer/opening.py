"""What a partition finds in its topic when it is opened, and what is done if records it needs are gone."""

import logging
from typing import Literal

from ..schemas.errors import SkimError
from .board import Board
from .fence import Fence, Stale
from .partition import Partition

log = logging.getLogger(__name__)

#: What to do about offsets that the topic no longer has.
LostOffsets = Literal["stop", "jump-and-alert"]


class OffsetsLost(SkimError):
    """The topic no longer has, or doesn't have, the records from which a partition would go on."""

    def __init__(self, partition: str, fence: Fence, low: int, high: int) -> None:
        if fence.offset > high:
            lost = f"its offset is {fence.offset}, the topic ends at {high}: was the topic made anew?"
        elif fence.offset < low:
            lost = f"records {fence.offset} to {low - 1} are gone (retention) and were never scored"
        else:
            lost = f"records {fence.learned} to {low - 1} are gone (retention): scored, but its memory needs them"
        super().__init__(f'{partition}: {lost}. Set kafka.lost_offsets = "jump-and-alert" to go on without them')
        self.partition = partition
        self.fence = fence
        self.low, self.high = low, high


def settle(partition: Partition, low: int, high: int, policy: LostOffsets, board: Board) -> bool:
    """See that a partition can go on within low to high; True if it had to jump, and must then be saved.

    Raises `OffsetsLost` under the policy "stop", `Stale` if the fence has moved.
    """
    fence = partition.fence
    if low <= fence.learned and fence.offset <= high:
        return False
    lost = OffsetsLost(partition.name, fence, low, high)
    if policy == "stop":
        raise lost
    log.error("jumped", extra={"partition": partition.name, "to": low, "reason": str(lost)})
    if not low <= fence.offset <= high:
        committed = board.commit(partition.name, fence, low, [])
        if not committed.applied:
            raise Stale(partition.name, str(committed.stored))
        partition.fence = fence._replace(offset=low)
    partition.learned = low
    return True
