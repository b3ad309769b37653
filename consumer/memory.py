"""What partitions have learned, kept in Redis: restored on assignment, called to mind by key, saved now and then."""

import logging
from collections.abc import Callable

import numpy as np

from ..schemas.columns import Columns
from .board import key
from .checkpoint import Checkpoints
from .partition import Partition

log = logging.getLogger(__name__)


class Memory:
    """The memory of one stream's partitions. Raises `redis.RedisError`, `Stale`, `CheckpointError`."""

    def __init__(self, checkpoints: Checkpoints, clock: Callable[[], float]) -> None:
        self.checkpoints = checkpoints
        self.clock = clock

    def restore(self, partition: Partition) -> None:
        """Bring a fresh partition to its last checkpoint. Its entities follow when they are met."""
        partition.saved_at = self.clock()
        saved = self.checkpoints.read(partition.name, partition.fence)
        if saved is None:
            before = partition.fence.began_with
            partition.renewed = before not in ("", partition.model_id)
            if partition.shadow:  # whether it has looked on since isn't known
                partition.shadow.renewed = True
        else:
            before = saved.model
            partition.restore(saved, key(self.checkpoints.stream, "model", partition.name))
        if partition.renewed:
            log.warning(
                "another model: its online parts start anew at the offset",
                extra={"partition": partition.name, "model": partition.model_id, "before": before},
            )

    def recall(self, partition: Partition, columns: Columns) -> None:
        """Bring in the entities that these records need. `partition.fits` has been asked."""
        missing = partition.missing(columns)
        entities = partition.state.entities
        if len(missing) and entities is not None:
            found = self.checkpoints.recall(partition.name, partition.fence, missing, entities.rows.dtype)
            entities.put(*found)

    def save(self, partition: Partition, switched: bool = False) -> None:
        """A checkpoint of all that is learned up to `partition.learned`, from where on another model may score."""
        entities, name = partition.state.entities, partition.name
        keys, seen, rows = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.void)
        outlived, cursor = keys, 0
        if entities is not None:
            keys, seen, rows = entities.changes()
            cursor, kept, kept_seen = self.checkpoints.sweep(name, partition.sweep_from, entities.rows.dtype)
            outlived = np.setdiff1d(kept[entities.outlived(kept_seen)], keys)
        partition.fence = self.checkpoints.write(
            name, partition.fence, partition.learned, partition.saved(), (keys, seen, rows), outlived, switched
        )
        partition.saved_at, partition.sweep_from = self.clock(), cursor
        if entities is not None:
            entities.saved()
