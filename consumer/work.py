"""What a worker works on, and what it needs of the source and of the producer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..schemas.columns import Columns
from ..schemas.errors import DecodeError
from .address import Address
from .batch import Batch
from .outgoing import Parcel
from .streams.base import Ints


@dataclass(slots=True)
class Work:
    """A batch, decoded: its good records, which messages they are, and the messages that are dead, in order."""

    batch: Batch
    columns: Columns
    index: Ints
    dead: list[tuple[int, DecodeError]]
    sent: bool = False  # what goes to other topics was handed over


class Batches(Protocol):
    """What a worker needs of a source."""

    def due(self) -> list[Address]:
        """Partitions that came, or whose position the topic no longer has: they are to be opened."""

    def batches(self, size: int, seconds: float) -> list[Batch]: ...
    def range(self, address: Address) -> tuple[int, int]: ...
    def beginning(self, address: Address, low: int, high: int) -> int: ...
    def partition_count(self, topic: str) -> int: ...
    def open(self, address: Address, offset: int) -> None: ...
    def close(self, address: Address) -> None: ...
    def idle(self, seconds: float) -> None: ...
    def go_on(self) -> None: ...
    def commit(self, positions: Mapping[Address, int]) -> None: ...
    def lag(self) -> dict[Address, int]: ...


class Post(Protocol):
    """What a worker needs of the producer of dead letters and alerts."""

    def send(self, parcel: Parcel) -> None: ...
    def confirm(self) -> None: ...
