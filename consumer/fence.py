"""What Redis must hold of a partition for a worker's writing to be applied."""

from typing import NamedTuple

from ..schemas.errors import SkimError

NEW = "new"  # the digest of a partition that has learned nothing yet


class Stale(SkimError):
    """The partition has another owner, or Redis went back in time: what this worker knows of it no longer holds."""

    def __init__(self, partition: str, stored: str) -> None:
        super().__init__(f"{partition} stands at {stored or 'nothing'} now: what is remembered of it is out of date")
        self.partition = partition
        self.stored = stored


class Fence(NamedTuple):
    """The partition's next offset, and its checkpoint: `<offset it reflects>:<digest>:<number of entities>`.

    >>> Fence(120, "100:new:0").learned
    100
    """

    offset: int
    checkpoint: str

    @property
    def learned(self) -> int:
        """The offset that the checkpoint reflects: from here to `offset`, records are learned again, not emitted."""
        return int(self.checkpoint.split(":")[0])

    @property
    def digest(self) -> str:
        """Of the checkpoint's model, or `NEW`."""
        return self.checkpoint.split(":")[1]

    @property
    def entities(self) -> int:
        """How many entities the checkpoint holds."""
        return int(self.checkpoint.split(":")[2])

    def __str__(self) -> str:
        return f"{self.offset} {self.checkpoint}"
