"""What Redis must hold of a partition for a worker's writing to be applied."""

from typing import NamedTuple

from ..schemas.errors import SkimError

# The digest of a partition that has learned nothing yet is "new", and the id of the model that it begins with.
NEW = "new"


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
        """Of what the checkpoint has learned, or `NEW` and a model's id."""
        return self.checkpoint.split(":")[1]

    @property
    def began_with(self) -> str | None:
        """The model with which the partition began ("" if that isn't known); None if it has a checkpoint since."""
        return self.digest.removeprefix(NEW) if self.digest.startswith(NEW) else None

    @property
    def entities(self) -> int:
        """How many entities the checkpoint holds."""
        return int(self.checkpoint.split(":")[2])

    def __str__(self) -> str:
        return f"{self.offset} {self.checkpoint}"
