"""Where the time of an event goes: each stage of the worker by itself, on the same batches, in CPU time."""

import io
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import fastavro
import numpy as np
import redis
from prometheus_client import CollectorRegistry

from skimstream.cli.models import load_model
from skimstream.cli.run import settle
from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch
from skimstream.consumer.board import Board
from skimstream.consumer.distribution import counts_of
from skimstream.consumer.metrics import Metrics
from skimstream.consumer.outgoing import Parcel
from skimstream.consumer.partition import Partition
from skimstream.consumer.rows import rows_of
from skimstream.consumer.streams.registry import stream_of
from skimstream.consumer.tally import Tally, account
from skimstream.consumer.worker import Worker
from skimstream.schemas.decode import Decoder
from skimstream.scoring.ensemble import Ensemble
from whole.trained import model_of

BATCH = 500
REFERENCE, READ = "fastavro", 1_000
#: Messages of which it is told what a batch costs, and the other size that these then have.
COSTED, SMALL = 4_000, 5
#: In the order of the path.
MODELS = ("forest", "half-space trees", "sliding forest")
STAGES = ("decode", "features", *MODELS, "calibrate, combine", "rows", "commit")


class Nowhere:
    """Dead letters and alerts that go nowhere."""

    def send(self, parcel: Parcel) -> None:
        """Forget it."""

    def confirm(self) -> None:
        """All is well."""


class Stopwatch:
    """CPU seconds by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time noted."""

        def timed(*arguments: Any, **options: Any) -> Any:
            with self(name):
                return call(*arguments, **options)

        return timed


def stages(name: str, messages: list[bytes], store: redis.Redis, repeats: int) -> dict[str, dict[str, float]]:
    """Microseconds of CPU an event, by stage: medians over the repeats, each on an empty store.

    And by stage, how many times as long fastavro takes to read the same event: medians of the ratios in each repeat.
    """
    found: list[dict[str, float]] = []
    once(name, messages[: 4 * BATCH], store)  # what is compiled once
    settle()  # as `skim run` does
    for _ in range(repeats):
        found.append({**once(name, messages, store), REFERENCE: reference(name, messages[:READ])})
    ratios = [{stage: one[REFERENCE] / max(one[stage], 1e-3) for stage in STAGES} for one in found]
    return {
        "stages_us": {stage: median(one[stage] for one in found) for stage in (*STAGES, REFERENCE)},
        "stage_ratios": {stage: median(one[stage] for one in ratios) for stage in STAGES},
        "costs": batch_cost(name, messages, store, repeats),
    }


def median(values: Iterable[float]) -> float:
    """To a thousandth."""
    return round(statistics.median(values), 3)


def reference(name: str, messages: list[bytes]) -> float:
    """Microseconds that fastavro takes to read a message, its schema at hand."""
    schema = stream_of(name).schema()
    parsed = fastavro.parse_schema(dict(schema)) if schema else None
    began = time.process_time()
    for message in messages:
        if parsed is None:
            next(iter(fastavro.reader(io.BytesIO(message))))
        else:
            fastavro.schemaless_reader(io.BytesIO(message), parsed, None)
    return 1e6 * (time.process_time() - began) / len(messages)


def batch_cost(name: str, messages: list[bytes], store: redis.Redis, repeats: int) -> dict[str, float]:
    """What a batch costs by itself and what an event in it does, microseconds of CPU, where a night's list is full.

    From the same messages in batches of two sizes: an event takes `event_us` + `batch_us` / size.
    """
    few = messages[:COSTED]
    pairs = [[sum(once(name, few, store, size, full=True).values()) for size in (SMALL, BATCH)] for _ in range(repeats)]
    batches = [(small - large) / (1 / SMALL - 1 / BATCH) for small, large in pairs]
    events = [large - batch / BATCH for (_, large), batch in zip(pairs, batches, strict=True)]
    return {"batch_us": median(batches), "event_us": median(events)}


def once(
    name: str, messages: list[bytes], store: redis.Redis, size: int = BATCH, full: bool = False
) -> dict[str, float]:
    """One pass of all messages through one partition. full: as if all nights' lists were full of worse anomalies."""
    store.flushall()
    stream, watch = stream_of(name), Stopwatch()
    metrics = Metrics(CollectorRegistry(), name, stream.unscored_reasons)
    decoder, board = Decoder(stream.wanted, stream.framing, stream.schema()), Board(store, name)
    worker = Worker(stream, load_model(name, model_of(name)), board, Nowhere(), metrics, decoder)
    begun = worker.checkpoints.begin("t/0", 0, worker.chosen.model.id)
    partition, tally = Partition(Address("t", 0), stream, worker.chosen.model, begun), Tally()
    with ExitStack() as stack:
        if full:
            stack.enter_context(patch.object(board, "floor", lambda night: np.inf))
        for stage, part, method in parts_of(partition.ensemble):
            timed = watch.around(stage, getattr(type(part), method))
            stack.enter_context(patch.object(type(part), method, timed))
        for at in range(0, len(messages), size):
            values: list[bytes | None] = list(messages[at : at + size])
            stop = at + len(values)
            batch = Batch(Address("t", 0), at, stop, list(range(at, stop)), values, [0] * len(values))
            with watch("decode"):
                work = worker.prepare(partition, batch)
            with watch("features"):
                featured = partition.features(work.columns)
            with watch("score"):
                scores = partition.score(featured)
            with watch("rows"):
                rows = rows_of(partition, featured, scores, board, partition.judge(featured, scores), work)
            with watch("commit"):
                counts = counts_of(featured.nights, scores.raw[:, 0])
                assert board.commit("t/0", partition.fence, stop, rows, counts).applied
                account(work, featured, scores, tally, metrics)
            partition.fence = partition.fence._replace(offset=stop)
    spent = watch.spent
    spent["calibrate, combine"] = spent["score"] - sum(spent.get(one, 0.0) for one in MODELS)
    return {stage: 1e6 * spent.get(stage, 0.0) / len(messages) for stage in STAGES}


def parts_of(ensemble: Ensemble) -> Iterator[tuple[str, object, str]]:
    """The models, by their stage, with the method that scores."""
    yield "forest", ensemble.forest, "anomaly"
    yield "half-space trees", ensemble.halfspace, "score_learn_traced"
    if ensemble.sliding is not None:
        yield "sliding forest", ensemble.sliding, "score_learn_traced"
