import json
import random
from collections.abc import Iterable

import pytest
import redis

from skimstream.consumer.board import Board, Row, key, read_nights, read_offsets, read_top
from skimstream.consumer.checkpoint import Checkpoints
from skimstream.consumer.fence import Fence
from skimstream.consumer.streams.base import night_name

NIGHT = 20_778
NAME = night_name(NIGHT)


def row(thing: str, score: float, event: str = "1", night: int = NIGHT) -> Row:
    return Row(night, thing, score, event, json.dumps({"event": event, "night": night_name(night)}))


def dump(store: redis.Redis) -> dict[str, object]:
    """Everything on the board, as a value to compare."""
    found: dict[str, object] = {}
    for name in sorted(store.scan_iter()):
        kind = store.type(name)
        found[name.decode()] = store.zrange(name, 0, -1, withscores=True) if kind == b"zset" else store.hgetall(name)
    return found


def begin(store: redis.Redis, start: int = 0) -> None:
    Checkpoints(store, "ztf").begin("t/0", start)


def fence(offset: int, start: int = 0) -> Fence:
    """The fence of a partition that has no checkpoint yet."""
    return Fence(offset, f"{start}:new:0")


def board(store: redis.Redis, kept: int = 1_000) -> Board:
    return Board(store, "ztf", kept=kept)


def test_a_batch_puts_its_rows_and_its_offset(store: redis.Redis) -> None:
    one = board(store)
    begin(store, start=5)
    assert one.commit("t/0", fence(5, start=5), 8, [row("a", 0.5), row("b", 0.9, "7")]).applied
    assert read_offsets(store, "ztf") == {"t/0": 8}
    assert [(e["rank"], e["object"], e["score"], e["event"]) for e in read_top(store, "ztf", NAME, 10)] == [
        (1, "b", 0.9, "7"),
        (2, "a", 0.5, "1"),
    ]
    assert read_nights(store, "ztf") == [NAME]
    assert 0 < store.ttl(key("ztf", "top", NAME)) <= 90 * 86_400


def test_an_object_keeps_its_highest_score_and_that_events_details(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    for offset, (score, event) in enumerate([(0.5, "1"), (0.8, "2"), (0.7, "3")]):
        one.commit("t/0", fence(offset), offset + 1, [row("a", score, event)])
    (entry,) = read_top(store, "ztf", NAME, 10)
    assert (entry["score"], entry["event"]) == (0.8, "2")


@pytest.mark.parametrize("order", [("4", "3"), ("3", "4")])
def test_at_an_equal_score_the_smaller_event_id_wins_whoever_came_first(
    store: redis.Redis, order: tuple[str, str]
) -> None:
    one = board(store)
    begin(store)
    for offset, event in enumerate(order):
        one.commit("t/0", fence(offset), offset + 1, [row("a", 0.5, event)])
    assert read_top(store, "ztf", NAME, 1)[0]["event"] == "3"


def test_scores_and_64_bit_ids_keep_every_digit(store: redis.Redis) -> None:
    one, score = board(store), 0.123456789012345678
    begin(store)
    one.commit("t/0", fence(0), 1, [row("a", score, str((1 << 62) + 1))])
    (entry,) = read_top(store, "ztf", NAME, 1)
    assert entry["score"] == score
    assert entry["event"] == str((1 << 62) + 1)


def test_another_offset_refuses_the_whole_batch(store: redis.Redis) -> None:
    one, zombie = board(store), board(store)
    begin(store)
    assert one.commit("t/0", fence(0), 3, [row("a", 0.5)]).applied
    before = dump(store)
    refused = zombie.commit("t/0", fence(1), 2, [row("z", 0.99)])
    assert (refused.applied, refused.stored) == (False, 3)
    assert zombie.commit("t/7", fence(0), 1, [row("z", 0.99)]).stored is None
    assert dump(store) == before


def test_a_call_repeated_after_a_lost_reply_counts_as_applied_once(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    one.commit("t/0", fence(0), 3, [row("a", 0.5)])
    before = dump(store)
    assert one.commit("t/0", fence(0), 3, [row("a", 0.5)]).applied
    assert dump(store) == before


def test_the_list_is_trimmed_with_its_details_and_tells_its_floor(store: redis.Redis) -> None:
    one = board(store, kept=3)
    begin(store)
    assert one.floor(NIGHT) == float("-inf")
    one.commit("t/0", fence(0), 1, [row(f"o{i}", i / 10) for i in range(5)])
    assert one.floor(NIGHT) == 0.2
    assert store.hkeys(key("ztf", "details", NAME)) == [b"o2", b"o3", b"o4"]
    one.forget_floors()
    assert one.floor(NIGHT) == float("-inf")


def test_nights_are_apart(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    one.commit("t/0", fence(0), 1, [row("a", 0.5), row("a", 0.9, "2", NIGHT + 1)])
    assert read_nights(store, "ztf") == [night_name(NIGHT + 1), NAME]
    assert read_top(store, "ztf", NAME, 1)[0]["score"] == 0.5


def test_a_flushed_script_cache_is_no_error(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    one.commit("t/0", fence(0), 1, [])
    store.script_flush()
    assert one.commit("t/0", fence(1), 2, [row("a", 0.5)]).applied


def expected(rows: Iterable[Row], kept: int) -> list[tuple[str, float, str]]:
    """The board, recounted independently."""
    best: dict[str, tuple[float, str]] = {}
    for one in rows:
        have = best.get(one.object)
        if have is None or one.score > have[0] or (one.score == have[0] and one.event < have[1]):
            best[one.object] = (one.score, one.event)
    ranked = sorted(((score, thing, event) for thing, (score, event) in best.items()), reverse=True)
    return [(thing, score, event) for score, thing, event in ranked[:kept]]


@pytest.mark.parametrize("seed", range(10))
def test_any_cut_into_batches_gives_the_recounted_list(store: redis.Redis, seed: int) -> None:
    rng = random.Random(seed)
    rows = [row(f"o{rng.randrange(40)}", rng.randrange(60) / 64, str(rng.randrange(1_000))) for _ in range(300)]
    one, at = board(store, kept=12), 0
    begin(store)
    while at < len(rows):
        size = rng.choice([1, 2, 7, 50])
        worthy = [each for each in rows[at : at + size] if each.score >= one.floor(NIGHT)]
        assert one.commit("t/0", fence(at), at + size, worthy).applied
        at += size
    found = [(e["object"], e["score"], e["event"]) for e in read_top(store, "ztf", NAME, 100)]
    assert found == expected(rows, 12)


def test_names_of_strangers_are_data(store: redis.Redis) -> None:
    one = board(store)
    begin(store)
    names = ["", "a b", "x\r\nFLUSHALL\r\n", "}{ztf}", "ключ", "\x00"]
    one.commit("t/0", fence(0), 1, [row(name, i / 10) for i, name in enumerate(names)])
    assert [entry["object"] for entry in read_top(store, "ztf", NAME, 10)] == names[::-1]
