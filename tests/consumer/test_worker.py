"""The worker on a real Valkey, with batches handed to it directly; the Kafka side is in test_stream.py."""

import io
import itertools
import tarfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from skimstream.cli.models import load_model
from skimstream.consumer.address import Address
from skimstream.consumer.board import Board, Committed, Row, key, read_offsets, read_top
from skimstream.consumer.fence import Fence
from skimstream.consumer.metrics import Metrics
from skimstream.consumer.partition import Featured, Partition
from skimstream.consumer.streams.registry import stream_of
from skimstream.consumer.work import Work
from skimstream.consumer.worker import Worker
from skimstream.producer.encode import container, plain
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.producer.simulate.sessions import simulate_sessions
from skimstream.schemas.decode import Decoder
from skimstream.scoring.ensemble import Scores
from skimstream.scoring.errors import FeatureMismatch
from skimstream.scoring.model import Model
from stage.listed import Letters, Listed, Topic, learned

NAME = "t/0"


def worker_of(
    stream: str, store: redis.Redis, kept: int = 50, checkpoint_seconds: float = 1e9
) -> tuple[Worker, Letters, list[Scores]]:
    """A worker, its dead letters and all scores that it will compute."""
    kind, letters = stream_of(stream), Letters()
    seen: list[Scores] = []
    metrics = Metrics(CollectorRegistry(), stream, kind.unscored_reasons)
    decoder = Decoder(kind.wanted, kind.framing, kind.schema())
    board = Board(store, stream, kept)
    worker = Worker(
        kind, MODELS[stream], board, letters, metrics, decoder, lambda: 1.0, checkpoint_seconds=checkpoint_seconds
    )
    original = worker.learn

    def noted(partition: Partition, work: Work) -> tuple[Featured, Scores]:
        featured, scores = original(partition, work)
        seen.append(scores)
        return featured, scores

    worker.learn = noted  # type: ignore[method-assign]
    return worker, letters, seen


def run_all(worker: Worker, messages: Sequence[bytes | None], size: int) -> Listed:
    source = listed(messages, size)
    worker.run(source, lambda: source.done)
    return source


def listed(messages: Sequence[bytes | None], size: int) -> Listed:
    return Listed(Topic({0: list(messages)}), itertools.repeat(size))


def dump(store: redis.Redis) -> dict[str, dict[str, Any]]:
    return {name: learned(store, name) for name in ("ztf", "behaviour")}


def alerts(n: int, seed: int = 3) -> list[bytes | None]:
    schema = load("ztf_like")
    return [container(one.record, schema) for one in simulate_night(seed, date(2026, 11, 21), n, 0.05)]


def sessions(n: int, seed: int = 3) -> list[bytes | None]:
    schema, start = load("behaviour"), datetime(2026, 11, 21, tzinfo=UTC)
    return [plain(one.record, schema) for one in simulate_sessions(seed, start, n, users=50, anomaly_rate=0.05)]


MODELS: dict[str, Model] = {name: load_model(name, None) for name in ("ztf", "behaviour")}


@pytest.mark.parametrize(
    ("stream", "make", "n"),
    [
        ("ztf", alerts, 300),
        ("behaviour", sessions, 1_500),  # more than a window of the half-space trees, and a refit of the sliding forest
        pytest.param("behaviour", sessions, 6_000, marks=pytest.mark.nightly),
    ],
)
def test_batch_sizes_change_no_bit_of_scores_or_board(stream: str, make: Any, n: int, store: redis.Redis) -> None:
    messages = make(n)
    messages[n // 2] = b"rubbish"
    results = []
    for size in (1, 7, 1_000):
        store.flushall()
        worker, letters, seen = worker_of(stream, store)
        run_all(worker, messages, size)
        parts = [np.concatenate([getattr(s, name) for s in seen]) for name in ("score", "combined", "raw", "z")]
        results.append(([part.tobytes() for part in parts], dump(store), letters.sent, worker.tally))
    assert results[0] == results[1] == results[2]
    assert len(results[0][1][stream]) >= 4  # offsets, checkpoints, and a night's list with its details
    assert results[0][3].scored > 0


@pytest.mark.parametrize(("stream", "make"), [("ztf", alerts), ("behaviour", sessions)])
def test_every_message_is_accounted_for(stream: str, make: Any, store: redis.Redis) -> None:
    good = make(400)
    messages = [m for i, one in enumerate(good) for m in ((one, b"rubbish", None) if i % 40 == 0 else (one,))]
    worker, letters, _ = worker_of(stream, store)
    source = run_all(worker, messages, 64)
    tally = worker.tally
    assert tally.consumed == len(messages)
    assert tally.consumed == tally.scored + sum(tally.unscored.values()) + sum(tally.dead.values())
    rubbish = "schema_unknown" if stream == "ztf" else "decode"  # of an alert's framing nothing can be told from it
    assert sum(tally.dead.values()) == 20
    assert [(value, reason) for _, value, reason in letters.sent] == [(b"rubbish", rubbish), (None, "decode")] * 10
    assert [messages[offset] for offset, _, _ in letters.sent] == [value for _, value, _ in letters.sent]
    assert letters.confirmed == 20
    assert read_offsets(store, stream) == {NAME: len(messages)}
    assert source.committed == {0: len(messages)}


def test_the_board_holds_what_people_need(store: redis.Redis) -> None:
    worker, _, _ = worker_of("ztf", store)
    run_all(worker, alerts(300), 100)
    (best, *_) = read_top(store, "ztf", "2026-11-21", 5) or read_top(store, "ztf", "2026-11-20", 5)
    assert best["object"].startswith("ZTF")
    assert best["event"].isdigit()
    assert best["model"] == MODELS["ztf"].id
    assert len(best["reasons"]) == 3
    explained, parts = best["explained"], set(MODELS["ztf"].parts)
    assert explained["feature"][:3] == [reason["feature"] for reason in best["reasons"]]
    assert set(explained["feature"]) == set(best["features"])
    assert set(explained["contributions"]) == set(best["reasons"][0]["contributions"]) == parts
    assert best["reasons"][0]["words"].startswith(f"{explained['feature'][0]} ")
    assert set(best["raw"]) == set(best["z"]) == parts
    assert {"ra", "dec", "jd", "magpsf", "band"} <= set(best["candidate"])
    assert 0 <= best["score"] < 1


def test_a_refused_batch_changes_nothing_and_the_partition_begins_anew_at_the_fence(store: redis.Redis) -> None:
    messages = sessions(60)
    worker, _, _ = worker_of("behaviour", store)
    source = listed(messages, 20)
    worker.run(source, lambda: source.positions == {0: 20})
    store.hset(key("behaviour", "offsets"), NAME, "50")  # another worker went on
    before, whole = worker.partitions[Address("t", 0)], dump(store)
    worker.run(source, lambda: bool(source.waiting))
    assert worker.tally.consumed == 20
    assert dump(store) == whole
    worker.run(source, lambda: source.done)
    assert worker.partitions[Address("t", 0)] is not before
    assert worker.relearned == 50
    assert worker.tally.consumed == 30
    assert read_offsets(store, "behaviour") == {NAME: 60}


def test_an_empty_redis_is_filled_again_from_the_beginning(store: redis.Redis) -> None:
    messages = sessions(60)
    worker, _, _ = worker_of("behaviour", store)
    run_all(worker, messages, 20)
    whole = dump(store)
    store.flushall()
    worker, _, _ = worker_of("behaviour", store)
    source = listed(messages, 20)
    worker.run(source, lambda: source.positions == {0: 40})
    store.flushall()
    worker.run(source, lambda: source.done)
    assert dump(store) == whole


def test_a_failed_dead_letter_stops_before_the_offset_moves(store: redis.Redis) -> None:
    from skimstream.consumer.letter import DeadLetterError

    worker, letters, _ = worker_of("behaviour", store)

    def fail() -> None:
        raise DeadLetterError("t.dlq", "no")

    letters.confirm = fail  # type: ignore[method-assign]
    with pytest.raises(DeadLetterError):
        run_all(worker, [b"rubbish"], 1)
    assert read_offsets(store, "behaviour") == {NAME: 0}


def test_a_model_of_another_stream_is_refused(store: redis.Redis) -> None:
    kind, metrics = stream_of("ztf"), Metrics(CollectorRegistry(), "ztf", ())
    with pytest.raises(FeatureMismatch):
        Worker(kind, MODELS["behaviour"], Board(store, "ztf"), Letters(), metrics, Decoder(kind.wanted))


def test_metrics_add_up_and_hostile_input_adds_no_series(store: redis.Redis) -> None:
    worker, _, _ = worker_of("ztf", store)
    run_all(worker, alerts(200), 50)
    registry = worker.metrics.registry
    series = generate_latest(registry).count(b"\n")

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, {"stream": "ztf", **labels}) or 0.0

    consumed = value("skim_consumed_messages_total")
    unscored = sum(value("skim_unscored_messages_total", reason=r) for r in stream_of("ztf").unscored_reasons)
    assert consumed == 200 == value("skim_scored_messages_total") + unscored
    assert value("skim_score_count", part="combined") == value("skim_scored_messages_total")
    assert value("skim_end_to_end_latency_seconds_count") == 200
    run_all(worker, [*[None] * 200, *[bytes([i]) * 50 for i in range(100)]], 50)
    assert value("skim_rejected_messages_total", reason="schema_unknown") == 100
    assert generate_latest(registry).count(b"\n") == series


SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_alerts_of_all_versions_give_the_same_bits_in_any_batches(store: redis.Redis) -> None:
    messages: list[bytes | None] = []
    for path in sorted((SHARED / "data" / "ztf").glob("*.tar.gz")):
        with tarfile.open(path) as tar:
            members = [tar.extractfile(member) for member in tar if member.isfile()]
            messages += [member.read() for member in members if isinstance(member, io.BufferedReader)]
    assert len(messages) == 358
    boards = []
    for size in (1, 7, 1_000):
        store.flushall()
        worker, letters, _ = worker_of("ztf", store, kept=500)
        run_all(worker, messages, size)
        assert letters.sent == []
        assert worker.tally.consumed == 358 == worker.tally.scored + sum(worker.tally.unscored.values())
        boards.append(dump(store))
    assert boards[0] == boards[1] == boards[2]


def test_a_list_that_never_fills_is_sent_no_row_that_cant_change_it(store: redis.Redis) -> None:
    worker, _, _ = worker_of("behaviour", store)
    sent: list[Row] = []
    commit = worker.board.commit

    def noted(partition: str, fence: Fence, following: int, rows: Sequence[Row], counts: Any = None) -> Committed:
        sent.extend(one for one in rows if one.details)
        return commit(partition, fence, following, rows, counts)

    worker.board.commit = noted  # type: ignore[method-assign]
    run_all(worker, sessions(3_000), 100)
    best: dict[tuple[int, str], float] = {}
    for one in sent:
        assert one.score >= best.get((one.night, one.object), 0.0)
        best[one.night, one.object] = one.score
    assert len({night for night, _ in best}) > 5
    assert len(best) < 1_000  # 50 users, and eleven days: no list is full
    assert len(sent) < 3 * len(best)  # of 3,000 events
