"""The models that a stream's workers share through Redis: which one is in force, which looks on, which were before.

Keys, for the stream `ztf`; people read them with redis-cli:
    skim:{ztf}:active                hash: model → id of the model in force, shadow → id of the one that looks on
    skim:{ztf}:activations           list of JSON, the latest last: what was put in force, when, and by which command
    skim:{ztf}:bundle:<id>           hash: file → bytes
    skim:{ztf}:switches:<partition>  hash: offset → id of the model that scores from there on (written by checkpoints)
While there is no key `active`, workers use the bundle that they were started with.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import redis

from ..scoring.errors import ModelError
from ..scoring.model import Model
from .board import key

# A rollback needs the one before; some more, for those who look into what was. Their bundles are kept as long.
KEPT = 20


class Active(NamedTuple):
    """Ids of the models in force; "" = none: the workers' own, and no shadow."""

    model: str = ""
    shadow: str = ""


@dataclass(frozen=True, slots=True)
class Activation:
    """What was in force from `at` (UTC) on."""

    model: str
    shadow: str
    at: str
    by: str  # activate, rollback, shadow

    @property
    def active(self) -> Active:
        """Without when and how."""
        return Active(self.model, self.shadow)


class NothingBefore(ModelError):
    """There is no earlier model to go back to."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"the stream {stream} has had no other model: there is nothing to roll back to")
        self.stream = stream


class Bundles:
    """The shared models of one stream. Raises `redis.RedisError` when Redis doesn't answer."""

    def __init__(
        self, client: redis.Redis, stream: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.client = client
        self.stream = stream
        self.clock = clock

    def active(self) -> Active:
        """What is in force."""
        found: Any = self.client.hmget(key(self.stream, "active"), ["model", "shadow"])
        return Active(*(_text(one) for one in found))

    def activate(self, model: Model) -> None:
        """Put a model in force: each partition switches to it at its next batch. A shadow of the same id ends."""
        self._change("activate", lambda now: Active(model.id, "" if now.shadow == model.id else now.shadow), model)

    def shadow(self, model: Model | None) -> None:
        """Let a model look on, or none."""
        self._change("shadow", lambda now: Active(now.model, model.id if model else ""), model)

    def rollback(self) -> Active:
        """Put the model in force that was before. Raises `NothingBefore`.

        A second rollback goes one further back, as an undo does: what was rolled back is not met again.
        """
        before = _earlier(self.history())
        if before is None:
            raise NothingBefore(self.stream)
        self._change("rollback", lambda now: Active(before, now.shadow))
        return self.active()

    def history(self) -> list[Activation]:
        """What was in force, the latest last; at most `KEPT`."""
        lines: Any = self.client.lrange(key(self.stream, "activations"), 0, -1)
        return [Activation(**json.loads(line)) for line in lines]

    def switches(self) -> dict[str, dict[int, str]]:
        """By partition: offset → the model that scores from there on."""
        prefix = key(self.stream, "switches", "")
        names: Any = self.client.scan_iter(match=prefix.replace("[", "\\[") + "*", count=1_000)
        found: dict[str, dict[int, str]] = {}
        for name in names:
            stored: Any = self.client.hgetall(name)
            found[_text(name).removeprefix(prefix)] = dict(
                sorted((int(at), _text(model)) for at, model in stored.items())
            )
        return found

    def load(self, model: str) -> Model:
        """A bundle, taken as hostile. Raises `ModelError`."""
        name = key(self.stream, "bundle", model)
        stored: Any = self.client.hgetall(name)
        if not stored:
            raise ModelError("it is gone; activate another model", where=name)
        loaded = Model.read({_text(file): data for file, data in stored.items()}, Path(name))
        if loaded.id != model:
            raise ModelError(f"it holds the model {loaded.id}", where=name)
        return loaded

    def _change(self, by: str, following: Callable[[Active], Active], model: Model | None = None) -> None:
        """Another `active`, in one transaction with its history and its bundle."""
        active, activations = key(self.stream, "active"), key(self.stream, "activations")

        def change(pipe: "redis.client.Pipeline") -> None:
            now: Any = pipe.hmget(active, ["model", "shadow"])
            lines: Any = pipe.lrange(activations, 0, -1)
            to = following(Active(*(_text(one) for one in now)))
            past = [Activation(**json.loads(line)) for line in lines]
            past.append(Activation(to.model, to.shadow, self.clock().isoformat(timespec="seconds"), by))
            outlived = _ids(past) - _ids(past[-KEPT:])
            pipe.multi()
            if model is not None:
                files: Any = model.files()
                pipe.hset(key(self.stream, "bundle", model.id), mapping=files)
            pipe.hset(active, mapping={"model": to.model, "shadow": to.shadow})
            pipe.rpush(activations, json.dumps(asdict(past[-1])))
            pipe.ltrim(activations, -KEPT, -1)
            for one in outlived:
                pipe.delete(key(self.stream, "bundle", one))

        self.client.transaction(change, active, activations)


def _ids(activations: list[Activation]) -> set[str]:
    return {one for activation in activations for one in activation.active if one}


def _earlier(history: list[Activation]) -> str | None:
    """The model before the one in force, rollbacks undone; "" = the workers' own.

    >>> def log(*steps): return [Activation(model, "", "", by) for by, model in steps]
    >>> _earlier(log(("activate", "a"), ("activate", "b"), ("rollback", "a")))
    ''
    >>> _earlier(log(("activate", "a"), ("activate", "b"), ("rollback", "a"), ("activate", "c")))
    'a'
    """
    past = [""] if len(history) < KEPT else []  # what was before the oldest kept isn't known
    for activation in history:
        if activation.by == "rollback" and len(past) > 1:
            past.pop()
        elif past[-1:] != [activation.model]:
            past.append(activation.model)
    return past[-2] if len(past) > 1 else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
