"""The stream `ztf` with `history = "state"`: what it sees, what it remembers, and that only the records count."""

import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from skimstream.consumer.checkpoint import CheckpointError, pack, unpack
from skimstream.consumer.config import ConfigError, Settings, load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.consumer.streams.base import Features
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.consumer.streams.ztf import Gate, Ztf, ZtfHistoryState
from skimstream.producer.encode import container
from skimstream.producer.schema import load
from skimstream.producer.simulate.night import simulate_night
from skimstream.schemas.columns import Columns
from skimstream.schemas.gather import gather
from stage.listed import Listed, Recorder, Topic, learned, recorder

JD = 2_461_365.5  # 2026-11-21T00:00 UTC
OPEN = Gate(min_real_bogus=0.0, max_bad_pixels=1e9)
Record = dict[str, Any]


def detection(jd: float, magnitude: float | None, **more: Any) -> Record:
    error = None if magnitude is None else 0.1
    row = {"jd": jd, "fid": 1, "magpsf": magnitude, "sigmapsf": error, "isdiffpos": "t", "distnr": 9.0}
    return {**row, "magnr": 17.0, "sigmagnr": 0.1, **more}


def alert(jd: float, magnitude: float = 18.0, history: Sequence[Record] = (), name: str = "a", **more: Any) -> Record:
    candidate = {**detection(jd, magnitude), "candid": 7, "ra": 10.0, "dec": -5.0, "rb": 0.9, "nbad": 0, **more}
    return {"objectId": name, "candidate": candidate, "prv_candidates": list(history)}


def columns_of(records: Sequence[Record]) -> Columns:
    return gather(list(records), Ztf.wanted)


def remembering(**options: Any) -> ZtfHistoryState:
    state = Ztf(history="state", **options).open()
    assert isinstance(state, ZtfHistoryState)
    return state


def compute(state: ZtfHistoryState, *records: Record) -> Features:
    """One batch, as a partition does it."""
    columns = columns_of(records)
    state.history.entities.admit(state.keys(columns))
    return state.features(columns)


def detections(state: ZtfHistoryState) -> dict[int, int]:
    """How many are remembered of each object, the latest seen first."""
    keys, _, rows = state.history.entities.changes()
    return dict(zip(keys.tolist()[::-1], rows["count"].tolist()[::-1], strict=True))


def night(count: int, seed: int = 3) -> list[Record]:
    return [one.record for one in simulate_night(seed, date(2026, 11, 21), count, 0.05)]


def completed(records: Sequence[Record]) -> list[Record]:
    """The same, but what left an object's packets in the course of the night, being 30 days old, is in them still."""
    first: dict[str, list[Record]] = {}
    whole = []
    for record in records:
        rows = record["prv_candidates"] or []
        before = first.setdefault(record["objectId"], rows)
        oldest = min(row["jd"] for row in (*rows, record["candidate"]))
        lost = [row for row in before if row["jd"] < oldest]
        whole.append({**record, "prv_candidates": [*lost, *rows] or None})
    return whole


def shortened(records: Sequence[Record], days: float = 0.0) -> list[Record]:
    """The same, but only an object's first alert brings its whole history: the others bring the last `days`."""
    known: set[str] = set()
    short = []
    for record in records:
        oldest = record["candidate"]["jd"] - days if record["objectId"] in known else 0.0
        known.add(record["objectId"])
        rows = [row for row in record["prv_candidates"] or () if row["jd"] >= oldest]
        short.append({**record, "prv_candidates": rows or None})
    return short


@pytest.mark.parametrize("days", [0.0, 0.05, 10.0])
def test_what_packets_lack_is_remembered_to_the_last_bit(days: float) -> None:
    whole = completed(night(600))
    short = shortened(whole, days)
    assert sum(one != other for one, other in zip(whole, short, strict=True)) > 100
    expected = Ztf(OPEN).open().features(columns_of(whole))
    found = compute(remembering(gate=OPEN, points=300), *short)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.matrix.tobytes() == expected.matrix.tobytes()
    assert Ztf(OPEN).open().features(columns_of(short)).matrix.tobytes() != expected.matrix.tobytes()


def test_where_packets_lack_nothing_both_modes_are_one() -> None:
    records = completed(night(600))
    packet, state = Ztf().open().features(columns_of(records)), compute(remembering(), *records)
    assert packet.rows.tolist() == state.rows.tolist()
    assert packet.matrix.tobytes() == state.matrix.tobytes()
    assert packet.unscored == state.unscored


def test_alerts_of_one_batch_learn_from_each_other_in_order() -> None:
    stream = [alert(JD + day, 18.0 + 0.1 * day) for day in (0, 1, 2, 3, 4)]
    found = compute(remembering(), *stream)
    assert found.rows.tolist() == [3, 4]  # from four points on
    assert found.unscored["too_few_points"] == 3
    mean = Ztf.features.index("g_mean")
    assert found.matrix[:, mean].tolist() == pytest.approx([18.15, 18.2])


def test_bogus_and_nameless_alerts_teach_nothing_and_take_no_room() -> None:
    state = remembering()
    history = [detection(JD - 1, 18.0), detection(JD - 2, None)]
    compute(
        state,
        alert(JD, history=history, rb=0.2),
        alert(JD, history=history, nbad=3),
        {**alert(JD, history=history), "objectId": None},
    )
    assert detections(state) == {}
    assert state.history.entities.events == 3  # they count for the lifetime, as every record does
    compute(state, alert(JD + 1, history=history, name="b"))
    assert list(detections(state).values()) == [2]  # the upper limit isn't one of them


def test_broken_numbers_do_not_outlast_their_alert() -> None:
    state = remembering()
    good = [alert(JD + day, 18.0 + 0.1 * day) for day in range(4)]
    broken = [detection(JD - 9 + i, value) for i, value in enumerate((np.inf, -np.inf, np.nan, 1e300, 1e30))]
    broken += [detection(JD - 3, 18.0, sigmapsf=0.0), detection(np.nan, 18.0), detection(JD - 2, 18.0, fid=1e9)]
    found = compute(state, *good[:3], alert(JD + 2.5, 18.25, broken), *good[3:])
    assert found.rows.tolist() == [4]
    assert found.unscored == {
        **dict.fromkeys(Ztf.unscored_reasons[:-1], 0),
        "malformed": 1,
        "too_few_points": 3,
    }
    assert list(detections(state).values()) == [5]


def test_rows_come_back_from_bytes_as_they_were() -> None:
    state = remembering()
    compute(state, *shortened(night(200)))
    keys, seen, rows = state.history.entities.changes()
    packed = pack(keys, seen, rows)
    seen_again, rows_again = unpack(keys, packed, rows.dtype, "here")
    assert seen_again.tolist() == seen.tolist()
    assert rows_again.tobytes() == rows.tobytes()
    assert np.median([len(one) for one in packed]) < rows.dtype.itemsize / 2  # what is unused isn't kept


def run(worker: Recorder, messages: Sequence[bytes], sizes: Iterator[int], until: int) -> None:
    """The worker reads the messages up to `until`, and is then left as it is."""
    source = Listed(Topic({0: list(messages)}), sizes)

    def there() -> bool:
        return source.done or source.positions.get(0, 0) >= until

    worker.run(source, there)


def encoded(records: Sequence[Record]) -> list[bytes]:
    schema = load("ztf_like")
    return [container(record, schema) for record in records]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_batches_evictions_and_restarts_change_no_score(seconds: float, store: redis.Redis) -> None:
    """checkpoint_seconds: always, and only when memory is full, so that the next worker has much to learn again."""
    messages, capacity, rng = encoded(shortened(night(400), 0.05)), 9, random.Random(2)
    large = recorder(store, "large", stream=Ztf(history="state", capacity=1_000, points=30))
    run(large, messages, itertools.repeat(500), len(messages))
    small: dict[int, bytes] = {}
    for until in (90, 91, 200, 300, len(messages)):
        stream = Ztf(history="state", capacity=capacity, points=30)
        worker = recorder(store, "small", stream=stream, checkpoint_seconds=seconds)
        run(worker, messages, (rng.randint(1, capacity) for _ in itertools.count()), until)
        small |= {offset: score for _, offset, score in worker.emitted}
    assert small == {offset: score for _, offset, score in large.emitted}
    assert len(small) > 100
    one, other = (
        {short: value for short, value in learned(store, name).items() if short.startswith("top")}
        for name in ("large", "small")
    )
    assert one == other


def test_another_mode_or_length_is_not_gone_on_with(store: redis.Redis) -> None:
    messages = encoded(night(20))
    run(recorder(store, "ztf", stream=Ztf(history="state")), messages, itertools.repeat(10), 10)
    for stream in (Ztf(), Ztf(history="state", points=50)):
        with pytest.raises(CheckpointError, match="other features"):
            run(recorder(store, "ztf", stream=stream), messages, itertools.repeat(10), 20)


def settings_of(text: str, folder: Path) -> Settings:
    (folder / "skim.toml").write_text(text)
    return load_settings(folder / "skim.toml", {})


def test_settings_reach_the_stream(tmp_path: Path) -> None:
    text = '[history]\nmode = "state"\npoints = 60\n[state]\ncapacity = 5000\nlifetime = 200000\n'
    text += "[gate]\nmin_real_bogus = 0.7"
    stream = configured_stream(settings_of(text, tmp_path))
    assert isinstance(stream, Ztf)
    assert (stream.history, stream.points, stream.capacity, stream.lifetime) == ("state", 60, 5_000, 200_000)
    assert stream.gate.min_real_bogus == 0.7
    entities = stream.open().entities
    assert entities is not None
    assert (entities.keys.capacity, entities.lifetime, entities.rows.dtype["points"].shape) == (5_000, 200_000, (60,))
    default = configured_stream(settings_of("", tmp_path))
    assert default.open().entities is None
    other = configured_stream(settings_of('stream = "behaviour"\n[state]\ncapacity = 5000', tmp_path))
    assert isinstance(other, Behaviour)
    assert other.capacity == 5_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[history]\nmode = "both"', "history.mode"),
        ("[history]\npoints = 0", "history.points"),
        ("[history]\npoints = 1001", "history.points"),
        ("[state]\ncapacity = 1000\n[batch]\nsize = 1001", "state.capacity"),
    ],
)
def test_settings_that_cannot_be_are_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        settings_of(text, tmp_path)
