"""Checkpoints in Redis: what a partition has learned, together with the offset that it reflects.

Keys, for the stream `ztf`; <partition> is `<topic>/<number>`:
    skim:{ztf}:checkpoints          hash: <partition> → <offset>:<digest of the model>:<number of entities>
    skim:{ztf}:model:<partition>    what is learned beside the entities: a line of JSON, then npz
    skim:{ztf}:state:<partition>    hash: key of an entity (8 bytes) → CRC-32, number of its last event, row
    skim:{ztf}:switches:<partition> hash: offset → id of the model that scores from there on
All of a partition's are written by one script, which refuses a worker that isn't the partition's owner any more or
whose Redis went back in time; and read under the same condition.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain, compress, repeat
from operator import add, is_not, itemgetter
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from ..schemas.errors import SkimError
from ..scoring.entities import Ints, Keys, Rows
from ..scoring.npz import read_arrays, write_arrays
from .board import key
from .fence import Fence, Stale

FORMAT, VERSION = "skimstream-checkpoint", 1
# A row's CRC-32 and `seen`, before the row itself; zeros at its end are left out.
HEAD = np.dtype([("check", "<u4"), ("seen", "<i8")])
CHECKED = itemgetter(slice(HEAD["check"].itemsize, None))  # what the CRC-32 is of, beside the key
SWEPT = 500  # entities looked at for outlived ones, a checkpoint


class CheckpointError(SkimError):
    """A checkpoint can't be used. `where` is its key in Redis."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"checkpoint {where}: {problem}. Restore an older Redis snapshot; or, to have this partition forget what "
            "it learned and go on from the configured start, delete its field in skim:{…}:offsets"
        )
        self.where = where
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Begun:
    """How a partition stands when a worker takes it: its fence, what was in flight, and what is quarantined."""

    fence: Fence
    inflight: str
    quarantine: str


@dataclass(frozen=True, slots=True)
class Saved:
    """The arrays of a checkpoint, the id of the model they belong to, and the layout of its entities' rows.

    shadow: the id of the model that looks on, "" = none.
    """

    arrays: Mapping[str, NDArray[Any]]
    model: str
    layout: str
    shadow: str = ""


class Checkpoints:
    """All checkpoints of one stream. Raises `redis.RedisError` when Redis doesn't answer."""

    def __init__(self, client: redis.Redis, stream: str) -> None:
        self.client = client
        self.stream = stream
        self._begin, self._write, self._recall = (
            client.register_script(resources.files(__package__ or "").joinpath(f"{name}.lua").read_text())
            for name in ("begin", "checkpoint", "recall")
        )

    def begin(self, partition: str, start: int, model: str = "") -> Begun:
        """Where a partition stands; the first time ever, at `start` with nothing learned, to begin with `model`."""
        answer: Any = self._begin(
            keys=[
                *self._keys("offsets", "checkpoints", "inflight", "quarantine"),
                *self._keys_of(partition),
            ],
            args=[partition, str(start), model],
        )
        offset, checkpoint, inflight, quarantine = (_text(part) for part in answer)
        if not checkpoint:
            raise CheckpointError(key(self.stream, "checkpoints"), f"nothing for {partition}, though it has an offset")
        parts = checkpoint.split(":")
        if len(parts) != 3 or not parts[0].isdigit() or not parts[2].isdigit():
            raise CheckpointError(key(self.stream, "checkpoints"), f"{partition} → {checkpoint!r} is none")
        if int(parts[0]) > int(offset):
            raise CheckpointError(key(self.stream, "checkpoints"), f"{partition} is ahead of its offset {offset}")
        return Begun(Fence(int(offset), checkpoint), inflight, quarantine)

    def knows(self, partition: str) -> bool:
        """Whether the partition was ever begun: then it goes on from there, whatever start is asked for."""
        return bool(self.client.hexists(key(self.stream, "offsets"), partition))

    def fences(self, partitions: Sequence[str]) -> list[str]:
        """How partitions stand now, as `Fence.__str__` says it; one that Redis doesn't know: "None None"."""
        offsets: Any = self.client.hmget(key(self.stream, "offsets"), partitions)
        checkpoints: Any = self.client.hmget(key(self.stream, "checkpoints"), partitions)
        return [f"{_text(one)} {_text(other)}" for one, other in zip(offsets, checkpoints, strict=True)]

    def read(self, partition: str, fence: Fence) -> Saved | None:
        """The arrays of the fence's checkpoint; None if nothing is learned yet. Raises `CheckpointError`, `Stale`."""
        if fence.began_with is not None:
            return None
        where = key(self.stream, "model", partition)
        blob: Any = self.client.get(where)
        stored = _text(self.client.hget(key(self.stream, "checkpoints"), partition) or b"")
        if stored != fence.checkpoint:
            raise Stale(partition, stored)
        if blob is None:
            raise CheckpointError(where, "it is gone; see that Redis's maxmemory-policy is noeviction")
        if _digest(blob) != fence.digest:
            raise CheckpointError(where, "it is damaged, its digest is another")
        return _parse(blob, where, fence)

    def recall(self, partition: str, fence: Fence, keys: Keys, dtype: np.dtype[Any]) -> tuple[Keys, Ints, Rows]:
        """Those of the keys that the checkpoint holds, their `seen`, their rows. Raises `CheckpointError`, `Stale`."""
        answer: Any = self._recall(
            keys=[*self._keys("checkpoints"), key(self.stream, "state", partition)],
            args=[partition, fence.checkpoint, *_names(keys)],
        )
        where = key(self.stream, "state", partition)
        status, *found = answer
        if _text(status) == "STALE":
            raise Stale(partition, _text(found[0]))
        if _text(status) == "LOST":
            raise CheckpointError(
                where,
                f"{_text(found[0])} entities, {fence.entities} were saved; Redis's maxmemory-policy must be noeviction",
            )
        there = np.fromiter(map(is_not, found, repeat(None)), np.bool_, len(found))
        seen, rows = unpack(keys[there], list(compress(found, there)), dtype, where)
        return keys[there], seen, rows

    def sweep(self, partition: str, cursor: int, dtype: np.dtype[Any]) -> tuple[int, Keys, Ints]:
        """Some of the entities kept, and their `seen`: all of them, some time, if called with the cursor it answers."""
        where = key(self.stream, "state", partition)
        answer: Any = self.client.hscan(where, cursor, count=SWEPT)
        following, found = answer
        keys = np.frombuffer(b"".join(found), np.uint64)
        seen, _ = unpack(keys, list(found.values()), dtype, where)
        return int(following), keys, seen

    def write(
        self,
        partition: str,
        fence: Fence,
        learned: int,
        saved: Saved,
        changes: tuple[Keys, Ints, Rows],
        outlived: Keys,
        switched: bool = False,
    ) -> Fence:
        """Save what is learned up to offset `learned`; the fence that holds from now on. Raises `Stale`.

        `switched`: from here on another model scores; this is recorded.
        A lost reply makes redis-py send it twice; the second finds the checkpoint that the first has written.
        """
        blob = _format(saved, learned)
        digest = _digest(blob)
        keys, seen, rows = changes
        pairs = chain.from_iterable(zip(_names(keys), pack(keys, seen, rows), strict=True))
        answer: Any = self._write(
            keys=[
                *self._keys("offsets", "checkpoints"),
                *self._keys_of(partition),
            ],
            args=[
                partition,
                str(fence.offset),
                fence.checkpoint,
                str(learned),
                digest,
                blob,
                saved.model if switched else "",
                str(len(keys)),
                *pairs,
                *_names(outlived),
            ],
        )
        status, *stored = (_text(part) for part in answer)
        if status == "APPLIED":
            return fence._replace(checkpoint=stored[0])
        offset, checkpoint = stored
        if offset == str(fence.offset) and checkpoint.startswith(f"{learned}:{digest}:"):
            return fence._replace(checkpoint=checkpoint)
        raise Stale(partition, f"{offset}, checkpoint {checkpoint}")

    def _keys(self, *names: str) -> list[str]:
        return [key(self.stream, name) for name in names]

    def _keys_of(self, partition: str) -> list[str]:
        return [key(self.stream, name, partition) for name in ("model", "state", "switches")]


def pack(keys: Keys, seen: Ints, rows: Rows) -> list[bytes]:
    """Each entity as bytes: CRC-32 of all the rest and of its key, `seen`, the row without the zeros at its end."""
    if not len(keys):
        return []
    heads = np.zeros(len(keys), HEAD)
    heads["seen"] = seen
    tails = np.ascontiguousarray(rows).view(f"S{rows.dtype.itemsize}").tolist()  # numpy leaves zeros at the end out
    bodies = map(add, heads["seen"].copy().view("V8").tolist(), tails)
    heads["check"] = _checks(keys, bodies)
    return list(map(add, heads.view(f"V{HEAD.itemsize}").tolist(), tails))


def unpack(keys: Keys, packed: Sequence[bytes], dtype: np.dtype[Any], where: str) -> tuple[Ints, Rows]:
    """What `pack` has packed: `seen` and rows of `dtype`. Raises `CheckpointError`."""
    most = HEAD.itemsize + dtype.itemsize
    sizes = np.fromiter(map(len, packed), np.int64, len(packed))
    for size in sizes[(sizes < HEAD.itemsize) | (sizes > most)][:1]:
        raise CheckpointError(where, f"an entity of {size} bytes, {most} at most are right")
    whole = np.array(packed, f"S{most}").view([("head", HEAD), ("row", dtype)])  # with zeros at the end again
    for one in keys[whole["head"]["check"] != _checks(keys, map(CHECKED, packed))][:1]:
        raise CheckpointError(where, f"the entity {one.tobytes().hex()} is damaged")
    return whole["head"]["seen"].astype(np.int64), whole["row"].copy()


def _names(keys: Keys) -> list[bytes]:
    names: list[bytes] = np.ascontiguousarray(keys).view("V8").tolist()
    return names


def _checks(keys: Keys, bodies: Iterable[bytes]) -> NDArray[np.uint32]:
    """CRC-32 of each entity: its key, then its body."""
    return np.fromiter(map(zlib.crc32, bodies, map(zlib.crc32, _names(keys))), np.uint32, len(keys))


def _format(saved: Saved, learned: int) -> bytes:
    """A line of JSON that says what this is, then the arrays."""
    head = {"format": FORMAT, "version": VERSION, "offset": learned, "model": saved.model, "layout": saved.layout}
    if saved.shadow:
        head["shadow"] = saved.shadow
    return json.dumps(head).encode() + b"\n" + write_arrays(saved.arrays)


def _parse(blob: bytes, where: str, fence: Fence) -> Saved:
    line, _, packed = blob.partition(b"\n")
    try:
        head = json.loads(line)
    except ValueError as error:
        raise CheckpointError(where, "its first line is not JSON") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise CheckpointError(where, f"it is no {FORMAT}")
    if head.get("version") != VERSION:
        raise CheckpointError(where, f"its version is {head.get('version')!r}, this release reads and writes {VERSION}")
    if head.get("offset") != fence.learned:
        raise CheckpointError(where, f"it reflects offset {head.get('offset')!r}, not {fence.learned}")
    return Saved(
        read_arrays(packed, where), str(head.get("model")), str(head.get("layout")), str(head.get("shadow", ""))
    )


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()[:16]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
