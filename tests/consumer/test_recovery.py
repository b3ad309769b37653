"""A worker that dies, comes back, is replaced or loses Redis: the scores and all that is in Redis stay the same."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import redis

from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch
from skimstream.consumer.board import key, read_offsets
from skimstream.consumer.checkpoint import CheckpointError
from skimstream.consumer.fence import NEW
from skimstream.consumer.opening import OffsetsLost
from skimstream.consumer.partition import Partition
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.watchdog import NoProgress, Watchdog
from stage.copies import copy_of, put_back
from stage.listed import Letters, Listed, Recorder, Topic, learned, model_of, recorder, sessions

BOARD = "skim:{behaviour}*"
EVENTS: list[bytes | None] = [*sessions(1_200, users=120)]


class Died(BaseException):
    """The process ends here."""


def topic_of(count: int, partitions: int = 2) -> Topic:
    return Topic({number: [*EVENTS[:count]][number::partitions] for number in range(partitions)})


def undisturbed(store: redis.Redis, topic: Topic) -> tuple[dict[str, object], dict[tuple[int, int], bytes]]:
    """What Redis holds after a run without trouble, under a name of its own, and every score."""
    worker = recorder(store, "reference")
    source = Listed(topic, itertools.repeat(100))
    worker.run(source, lambda: source.done)
    for number in list(topic.partitions):
        worker.dropped(Address("t", number), lost=False)
    return learned(store, "reference"), scores_of([worker])


def scores_of(workers: Sequence[Recorder]) -> dict[tuple[int, int], bytes]:
    """Every emitted score; the same event twice must have got the same score."""
    found: dict[tuple[int, int], bytes] = {}
    for worker in workers:
        for partition, offset, score in worker.emitted:
            assert found.setdefault((partition, offset), score) == score
    return found


def read(source: Listed) -> bool:
    return source.done


def consumed(worker: Recorder, source: Listed, count: int) -> bool:
    return source.done or worker.tally.consumed >= count


def finish(worker: Recorder, source: Listed) -> None:
    worker.run(source, lambda: source.done)
    for number in list(source.held.partitions):
        worker.dropped(Address("t", number), lost=False)


POINTS = ("opened", "prepared", "learned", "buried", "committed", "saved", "told", "relearned")


@pytest.mark.parametrize("wanted", [5, pytest.param(20, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("point", POINTS)
def test_deaths_at_any_point_of_the_commit_order_change_nothing(point: str, wanted: int, store: redis.Redis) -> None:
    topic = topic_of(700)
    for messages in topic.partitions.values():
        messages[10::90] = [b"rubbish"] * len(messages[10::90])
    expected, scores = undisturbed(store, topic)
    rng, deaths = random.Random(point), dict.fromkeys(POINTS, 0)
    while deaths[point] < wanted:
        for name in store.scan_iter(match="skim:{behaviour}*"):
            store.delete(name)
        workers: list[Recorder] = []
        for life in itertools.count():
            # So that there is something to learn again, some die after a commit.
            where = rng.choice([point, point, "committed"]) if life < 30 else ""
            left = rng.randint(*{"opened": (1, 2), "told": (1, 1), "relearned": (1, 3)}.get(where, (1, 8)))

            def reached(here: str, where: str = where) -> None:
                nonlocal left
                left -= here == where
                if left == 0 and here == where:
                    deaths[where] += 1
                    raise Died

            seconds = 0.0 if point == "saved" else rng.choice([0.0, 1e9])
            worker = recorder(store, stream=Behaviour(capacity=1_000), checkpoint_seconds=seconds, reached=reached)
            workers.append(worker)
            source = Listed(topic, (rng.choice([1, 5, 20]) for _ in itertools.count()))
            try:
                finish(worker, source)
                break
            except Died:
                continue
        assert learned(store, "behaviour") == expected
        assert scores_of(workers) == scores


def test_a_small_memory_with_redis_behind_it_scores_as_a_large_one(store: redis.Redis) -> None:
    topic = topic_of(1_200, partitions=1)
    expected, scores = undisturbed(store, topic)
    worker = recorder(store, stream=Behaviour(capacity=40), checkpoint_seconds=1e9)
    source = Listed(topic, itertools.repeat(30))
    worker.run(source, lambda: source.done)
    entities = worker.partitions[Address("t", 0)].state.entities
    assert entities is not None
    assert entities.keys.evicted > 100
    worker.dropped(Address("t", 0), lost=False)
    assert scores_of([worker]) == scores
    assert learned(store, "behaviour") == expected


class Deadly(Recorder):
    """A worker that dies of certain bytes when it decodes them, as of a segmentation fault."""

    def prepare(self, partition: Any, batch: Any) -> Any:
        if b"deadly" in partition.touchable(batch):
            raise Died
        return super().prepare(partition, batch)


def deadly(store: redis.Redis) -> Deadly:
    def probe(batch: Batch) -> frozenset[int]:
        return frozenset(at for at, one in zip(batch.offsets, batch.values, strict=True) if one == b"deadly")

    worker = recorder(store, probe=probe)
    worker.__class__ = Deadly
    assert isinstance(worker, Deadly)
    return worker


def test_a_message_that_kills_is_found_and_set_aside(store: redis.Redis) -> None:
    topic = topic_of(300, partitions=1)
    without = Topic({0: [*topic.partitions[0][:123], None, *topic.partitions[0][123:]]})
    expected, scores = undisturbed(store, without)
    topic.partitions[0].insert(123, b"deadly")
    workers = []
    for life in itertools.count():
        workers.append(deadly(store))
        try:
            finish(workers[-1], Listed(topic, itertools.repeat(40)))
            break
        except Died:
            assert life < 6, "it dies again and again"
    assert len(workers) == 4  # dies unmarked, then marked twice; then it is looked at from afar
    letters = workers[-1].letters
    assert isinstance(letters, Letters)
    assert letters.sent == [(123, b"deadly", "crash")]
    found = learned(store, "behaviour")
    assert found.pop("quarantine") == {b"t/0": b"123"}
    assert found == expected
    assert scores_of(workers) == scores
    # It stays set aside when its neighbourhood is learned again.
    store.hset(key("behaviour", "checkpoints"), "t/0", f"0:{NEW}:0")
    store.delete(key("behaviour", "state", "t/0"))
    again = deadly(store)
    finish(again, Listed(topic, itertools.repeat(40)))
    assert (again.relearned, again.tally.consumed) == (301, 0)


def test_workers_that_die_again_and_again_at_one_offset_condemn_no_innocent_message(store: redis.Redis) -> None:
    topic = topic_of(100, partitions=1)
    expected, scores = undisturbed(store, topic)
    workers: list[Recorder] = []
    for life in range(12):

        def reached(point: str, life: int = life) -> None:
            if life < 11 and point == "learned":
                raise Died

        workers.append(recorder(store, reached=reached))
        try:
            finish(workers[-1], Listed(topic, itertools.repeat(10)))
        except Died:
            continue
    assert learned(store, "behaviour") == expected
    assert scores_of(workers) == scores


def test_an_outlived_entity_is_a_new_one_however_it_is_run(store: redis.Redis) -> None:
    topic = topic_of(1_200, partitions=1)
    runs = []
    for size, capacity, seconds in ((150, 5_000, 1e9), (7, 5_000, 0.0), (20, 40, 0.0)):
        for name in store.scan_iter():
            store.delete(name)
        worker = recorder(store, stream=Behaviour(capacity, lifetime=150), checkpoint_seconds=seconds)
        source = Listed(topic, itertools.repeat(size))
        worker.run(source, partial(read, source))
        runs.append(scores_of([worker]))
        if capacity == 40:
            kept = store.hlen(key("behaviour", "state", "t/0"))
            assert kept < 130, "those outlived are swept away"
    assert runs[0] == runs[1] == runs[2]
    longer = recorder(store, "longer", stream=Behaviour(5_000))
    finish(longer, Listed(topic, itertools.repeat(100)))
    assert scores_of([longer]) != runs[0]


def test_a_redis_that_goes_back_in_time_takes_everything_back_together(store: redis.Redis) -> None:
    topic = topic_of(1_000)
    expected, scores = undisturbed(store, topic)
    rng, worker = random.Random(5), recorder(store, stream=Behaviour(1_000))
    source = Listed(topic, (rng.choice([1, 7, 40]) for _ in itertools.count()))
    copies = []
    for turn in range(60):
        worker.checkpoint_seconds = rng.choice([0.0, 1e9])
        until = worker.tally.consumed + 30
        worker.run(source, partial(consumed, worker, source, until))
        copies.append(copy_of(store, BOARD))
        if turn % 6 == 5:
            put_back(store, rng.choice(copies[-12:]), BOARD)
    put_back(store, copies[30], BOARD)
    worker.verify(source)  # all is read, and still it is noticed
    assert source.waiting == {0, 1}
    worker.checkpoint_seconds = 0.0
    finish(worker, source)
    assert (worker.metrics.registry.get_sample_value("skim_stale_fences_total") or 0) >= 5
    assert learned(store, "behaviour") == expected
    assert scores_of([worker]) == scores


def test_an_idle_worker_counts_the_answers_that_redis_owes_it(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = topic_of(40, partitions=1)
    worker, source = recorder(store), Listed(topic, itertools.repeat(10))
    worker.run(source, lambda: source.done)

    def silent(*_: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(worker.checkpoints, "fences", silent)
    monkeypatch.setattr(worker.chosen.bundles, "active", silent)
    worker.verify(source)
    worker.follow(source)
    assert worker.metrics.registry.get_sample_value("skim_redis_errors_total", {"kind": "connection"}) == 2


@pytest.mark.parametrize(
    ("low", "offset", "jumps"), [(10, 0, True), (10, 5, True), (10, 20, True), (0, 200, True), (0, 5, False)]
)
def test_records_that_the_topic_lost_stop_it_or_are_jumped_over_aloud(
    low: int, offset: int, jumps: bool, store: redis.Redis
) -> None:
    topic = topic_of(100, partitions=1)
    store.hset(key("behaviour", "offsets"), "t/0", str(offset))
    store.hset(key("behaviour", "checkpoints"), "t/0", f"0:{NEW}:0")
    topic.low[0] = low
    if jumps:
        with pytest.raises(OffsetsLost, match="lost_offsets"):
            finish(recorder(store), Listed(topic, itertools.repeat(10)))
        assert read_offsets(store, "behaviour") == {"t/0": offset}
    worker = recorder(store, lost_offsets="jump-and-alert")
    finish(worker, Listed(topic, itertools.repeat(10)))
    assert worker.metrics.registry.get_sample_value("skim_offset_out_of_range_total", {"stream": "behaviour"}) == jumps
    assert read_offsets(store, "behaviour") == {"t/0": 100}
    begins_at = offset if low <= offset <= 100 else low
    assert worker.tally.consumed == 100 - begins_at
    assert worker.relearned == begins_at - low
    finish(recorder(store), Listed(topic, itertools.repeat(10)))  # and the next one has nothing to complain of


def test_another_model_starts_at_the_fence_whatever_was_checkpointed(store: redis.Redis) -> None:
    topic, runs = topic_of(300, partitions=1), []
    first, rest = Topic({0: topic.partitions[0][:200]}), topic
    model = model_of("behaviour")
    other = replace(model, units=("other", *model.units[1:]))
    assert other.id != model.id
    for seconds, in_order in ((1e9, False), (0.0, True), (0.0, False)):
        store.flushall()
        worker, source = recorder(store, checkpoint_seconds=seconds), Listed(first, itertools.repeat(30))
        worker.run(source, partial(read, source))
        if in_order:
            worker.dropped(Address("t", 0), lost=False)
        workers = []
        for size in (20, 7):  # the second one takes over what the first has learned
            worker = recorder(store, checkpoint_seconds=seconds, model=other)
            source = Listed(rest, itertools.repeat(size))
            worker.run(source, partial(consumed, worker, source, 40))
            workers.append(worker)
        runs.append(scores_of(workers))
    assert min(offset for _, offset in runs[0]) == 200
    assert len(runs[0]) >= 80
    assert all(runs[0][place] == run[place] for run in runs[1:] for place in runs[0].keys() & run.keys())
    assert learned(store, "behaviour")["model:t/0"].startswith(b'{"format"')


class Stuck(Listed):
    """A source that says that messages wait, and gives none."""

    def batches(self, size: int, seconds: float) -> list[Batch]:
        return []


def test_a_worker_that_gets_nothing_done_ends_and_an_idle_one_does_not(store: redis.Redis) -> None:
    topic, now = topic_of(40, partitions=1), [0.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    worker = recorder(store, clock=tick, watchdog=Watchdog(60.0, clock=lambda: now[0]))
    with pytest.raises(NoProgress, match="40 messages wait"):
        worker.run(Stuck(topic, itertools.repeat(10)), lambda: now[0] > 500)
    idle = recorder(store, "other", clock=tick, watchdog=Watchdog(60.0, clock=lambda: now[0]))
    source, until = Listed(topic, itertools.repeat(10)), now[0] + 500
    idle.run(source, lambda: now[0] > until)
    assert source.done


def test_many_partitions_are_given_up_within_one_timeout_when_redis_is_out(store: redis.Redis) -> None:
    topic, now, asked = topic_of(400, partitions=8), [1.0], []
    worker = recorder(store, clock=lambda: now[0], checkpoint_seconds=1e9)
    worker.run(source := Listed(topic, itertools.repeat(10)), lambda: source.done)

    def save(partition: Partition, switched: bool = False) -> None:
        asked.append(partition.name)
        now[0] += 4.0  # as long as a call takes to fail
        raise redis.TimeoutError("no answer")

    worker.memory.save = save  # type: ignore[method-assign]
    for number in range(4):
        worker.dropped(Address("t", number), lost=False)
    assert asked == ["t/0"]
    now[0] += 60
    worker.dropped(Address("t", 4), lost=True)
    assert asked == ["t/0"], "what is lost has no last word"
    worker.dropped(Address("t", 5), lost=False)
    assert asked == ["t/0", "t/5"]


def break_state(store: redis.Redis) -> None:
    name = key("behaviour", "state", "t/0")
    field: Any = sorted(store.hkeys(name))[0]
    value: Any = store.hget(name, field)
    store.hset(name, field, bytes([value[0] ^ 1]) + value[1:])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda store: store.delete(key("behaviour", "model", "t/0")), "it is gone"),
        (lambda store: store.append(key("behaviour", "model", "t/0"), "x"), "damaged"),
        (lambda store: store.hdel(key("behaviour", "checkpoints"), "t/0"), "has an offset"),
        (lambda store: store.hset(key("behaviour", "checkpoints"), "t/0", "rubbish"), "is none"),
        (lambda store: store.hset(key("behaviour", "offsets"), "t/0", "50"), "ahead of its offset"),
        (lambda store: store.delete(key("behaviour", "state", "t/0")), "noeviction"),
        (lambda store: break_state(store), "is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_an_error_with_a_name(damage: Any, words: str, store: redis.Redis) -> None:
    topic = topic_of(300, partitions=1)
    source = Listed(Topic({0: topic.partitions[0][:200]}), itertools.repeat(50))
    finish(recorder(store), source)
    damage(store)
    whole = copy_of(store, BOARD)
    with pytest.raises(CheckpointError, match=words):
        finish(recorder(store), Listed(topic, itertools.repeat(100)))
    if words not in ("noeviction", "is damaged"):  # those are found when an entity is called to mind
        assert copy_of(store, BOARD) == whole
