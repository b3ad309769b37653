"""Generic features, bit for bit against a plain Python reference, and what they must mean."""

import itertools
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from skimstream.scoring.errors import ModelError
from skimstream.scoring.features.generic import GROUPS, GenericFeatures, Plan, spoken

Floats = NDArray[np.float64]
NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC, a Wednesday
HOUR, DAY = 3600.0, 86_400.0
PLAN = Plan(
    ("amount", "tip"),
    ("channel", "country"),
    ("card", "shop"),
    (HOUR, 7 * DAY),
    resolution=(0.01, 0.0),
    remembered=3,
    labelled=True,
)


class Events(NamedTuple):
    entities: NDArray[np.uint64]
    time: Floats
    numbers: Floats
    categories: NDArray[np.uint64]
    labels: Floats

    def part(self, start: int, stop: int | None = None) -> "Events":
        at = slice(start, stop)
        return Events(self.entities[at], self.time[at], self.numbers[at], self.categories[at], self.labels[at])


def column(matrix: Floats, name: str, plan: Plan = PLAN) -> Floats:
    return matrix[:, plan.features.index(name)]


def assert_same_bits(one: Floats, other: Floats) -> None:
    assert one.shape == other.shape
    same = (one.view(np.uint64) == other.view(np.uint64)) | (np.isnan(one) & np.isnan(other))
    rows, columns = np.nonzero(~same)
    assert same.all(), [
        (row, PLAN.features[c], one[row, c], other[row, c]) for row, c in zip(rows[:5], columns, strict=False)
    ]


def assert_same_state(one: GenericFeatures, other: GenericFeatures) -> None:
    for ours, theirs in ((one.shared(), other.shared()), (rows_of(one), rows_of(other))):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            assert (array.dtype, array.tobytes()) == (theirs[name].dtype, theirs[name].tobytes()), name


def rows_of(features: GenericFeatures) -> dict[str, NDArray[Any]]:
    order = features.entities.keys.order()
    keys = features.entities.slots.nodes["key"][order]
    return {"keys": keys, "rows": features.entities.rows["row"][order]}


# The reference: dicts and lists, one event at a time. Its constants are written out, so that a change of them shows.


class Entity:
    def __init__(self) -> None:
        self.last: float | None = None
        self.events = dict.fromkeys(PLAN.half_lives, 0.0)
        self.faded = {(name, h): (0.0, 0.0) for name in PLAN.numbers for h in PLAN.half_lives}
        self.excess = {(name, h): 0.0 for name in PLAN.numbers for h in PLAN.half_lives}
        self.history = {name: (0, 0.0, 0.0) for name in PLAN.numbers}
        self.told: float | None = None
        self.known = dict.fromkeys(PLAN.half_lives, (0.0, 0.0))
        self.streak: tuple[float, float] | None = None  # the last labels, and since when they were alike
        self.shares = [0.0, 0.0]
        self.recent: dict[str, list[int]] = {name: [] for name in PLAN.novelties}


class Reference:
    """`GenericFeatures` in plain Python, for PLAN."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity * len(PLAN.entities)
        self.known: dict[tuple[str, int], Entity] = {}  # the least recently seen first
        self.values: dict[str, dict[int, tuple[float, int]]] = {name: {} for name in PLAN.categories}
        self.totals = dict.fromkeys(PLAN.categories, 0.0)
        self.seen = dict.fromkeys(PLAN.categories, 0)

    def compute(self, stream: Events) -> Floats:
        made = []
        for *event, label in zip(*(one.tolist() for one in stream), strict=True):
            if math.isnan(label):
                made.append(list(self.row(*event).values()))
            else:
                self.label(event[0], event[1], label)
        return np.array(made).reshape(-1, len(PLAN.features))

    def label(self, ids: list[int], time: float, label: float) -> None:
        now = time if abs(time) <= 1e11 else None
        for own in [self.touch(kind, key) for kind, key in zip(PLAN.entities, ids, strict=True) if key]:
            elapsed, late = 0.0, 0.0
            if now is not None and own.told is not None:
                elapsed = max(now - own.told, 0.0)
                late = own.told - now if 0 < own.told - now <= 86400 else 0.0
            for half_life, (bad, known) in own.known.items():
                decay = math.log(2) / half_life
                kept, weight = math.exp(-elapsed * decay), math.exp(-late * decay)
                own.known[half_life] = bad * kept + weight * label, known * kept + weight
            if now is not None and not late:
                own.told = now
            if now is not None:
                if own.streak is None or own.streak[0] != label:
                    own.streak = label, now
                own.shares = [
                    own.shares[0] + 0.5 * (label - own.shares[0]),
                    own.shares[1] + 0.2 * (label - own.shares[1]),
                ]

    def row(self, ids: list[int], time: float, values: list[float], hashes: list[int]) -> dict[str, float]:
        features = dict.fromkeys(PLAN.features, math.nan)
        numbers = {name: value for name, value in zip(PLAN.numbers, values, strict=True) if math.isfinite(value)}
        features |= numbers
        categories = {name: value for name, value in zip(PLAN.categories, hashes, strict=True) if value}
        features |= {f"{name}: rarity": self.rarity(name, value) for name, value in categories.items()}
        now = time if abs(time) <= 1e11 else None
        if now is not None:
            features["hour of day"] = now % 86400 / 3600
            features["day of week"] = (now // 86400 + 3) % 7
        for place, (kind, key) in enumerate(zip(PLAN.entities, ids, strict=True)):
            if not key:
                continue
            own = self.touch(kind, key)
            features |= {f"{kind}: {name}": value for name, value in self.entity(own, now, numbers).items()}
            if place == 0:
                seen = {
                    **categories,
                    **{name: one for name, one in zip(PLAN.entities[1:], ids[1:], strict=True) if one},
                }
                features |= {f"{kind}: {name} is new": new(own.recent[name], value) for name, value in seen.items()}
        return features

    def touch(self, kind: str, key: int) -> Entity:
        if (kind, key) not in self.known and len(self.known) == self.capacity:
            self.known.pop(next(iter(self.known)))
        self.known[kind, key] = self.known.pop((kind, key)) if (kind, key) in self.known else Entity()
        return self.known[kind, key]

    def rarity(self, name: str, value: int) -> float:
        count, last = self.values[name].get(value, (0.0, 0))
        decay = math.log(2) / 100_000
        count = count * math.exp(-(self.seen[name] - last - 1) * decay) if count else 0.0
        bits = math.log2((self.totals[name] + 1) / (count + 1))
        self.values[name][value] = count * math.exp(-decay) + 1, self.seen[name]
        self.totals[name] = self.totals[name] * math.exp(-decay) + 1
        self.seen[name] += 1
        return bits

    def entity(self, own: Entity, now: float | None, numbers: dict[str, float]) -> dict[str, float]:
        features, elapsed, late = {}, 0.0, 0.0
        if now is not None and own.last is not None:
            elapsed = max(now - own.last, 0.0)
            features["log time since its last event"] = math.log1p(elapsed)
            late = own.last - now if 0 < own.last - now <= 86400 else 0.0
        elapsed_label = max(now - own.told, 0.0) if now is not None and own.told is not None else 0.0
        for half_life, (bad, known) in own.known.items():
            kept = math.exp(-elapsed_label * (math.log(2) / half_life))
            features[f"risk over {spoken(half_life)}"] = bad * kept / (known * kept + 0.5)
        features |= {"risk by its last 2 labels": own.shares[0], "risk by its last 5 labels": own.shares[1]}
        if own.streak is not None and now is not None:
            days = max(now - own.streak[1], 0.0) / 86400
            features["time since its labels turned"] = days if own.streak[0] else -days
        for half_life in PLAN.half_lives:
            decay, span = math.log(2) / half_life, spoken(half_life)
            kept, weight = math.exp(-elapsed * decay), math.exp(-late * decay)
            features[f"events over {span}"] = own.events[half_life] * kept
            own.events[half_life] = own.events[half_life] * kept + weight
            for name in PLAN.numbers:
                count, total = (one * kept for one in own.faded[name, half_life])
                features[f"mean {name} over {span}"] = total / count if count > 1e-9 else math.nan
                features[f"sum of {name} over {span}"] = total
                own.excess[name, half_life] *= kept
                features[f"excess of {name} over {span}"] = own.excess[name, half_life] / (count + 0.5)
                if name in numbers:
                    count, total = count + weight, total + weight * min(max(numbers[name], -1e30), 1e30)
                own.faded[name, half_life] = count, total
        for name, value in numbers.items():
            features |= self.history(own, name, min(max(value, -1e30), 1e30))
            if features[f"z-score of {name}"] > 0:
                for half_life in PLAN.half_lives:
                    weight = math.exp(-late * (math.log(2) / half_life))
                    own.excess[name, half_life] += weight * min(features[f"z-score of {name}"], 5.0)
        if now is not None and not late:
            own.last = now
        return features

    def history(self, own: Entity, name: str, value: float) -> dict[str, float]:
        resolution = dict(zip(PLAN.numbers, PLAN.resolution, strict=True))[name]
        seen, mean, variance = own.history[name]
        spread = math.sqrt(variance + resolution * resolution + (0.05 * mean) * (0.05 * mean))
        z, ratio = 0.0, 1.0
        if seen >= 3:
            if spread:
                z = min(max((value - mean) / spread, -20.0), 20.0)
            elif value != mean:
                z = math.copysign(20.0, value - mean)
            if max(mean, resolution) > 0:
                ratio = min(max(value / max(mean, resolution), -1000.0), 1000.0)
        if seen >= 5 and spread:
            value = min(max(value, mean - 3 * spread), mean + 3 * spread)
        weight = max(1 / (seen + 1), 1 / 64)
        change = value - mean
        own.history[name] = seen + 1, mean + weight * change, (1 - weight) * (variance + weight * change * change)
        return {f"z-score of {name}": z, f"{name} over its mean": ratio}


def new(recent: list[int], value: int) -> float:
    flag = float(bool(recent) and value not in recent)
    if value in recent:
        recent.remove(value)
    recent.insert(0, value)
    del recent[3:]
    return flag


STEPS = [-30 * DAY, -2 * DAY, -DAY, -7 * HOUR, -1.0, 0.0, 0.25, 61.0, HOUR, 5 * HOUR, DAY, 40 * DAY]
VALUES = [math.nan, 0.0, -0.0, 1.0, 1.5, 7.0, 120.0, -3.0, 1e6, 1e30, 1e200, -1e308, 5e-324, math.inf, -math.inf]


@st.composite
def streams(draw: st.DrawFn) -> Events:
    n = draw(st.integers(0, 40))
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=n, max_size=n))
    lost = draw(hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 0.0, 0.0, math.nan, math.inf, -2e12])))
    return Events(
        draw(hnp.arrays(np.uint64, (n, 2), elements=st.integers(0, 5))),
        np.where(lost == 0, NOON + np.cumsum(np.array(steps, np.float64)), lost),
        draw(hnp.arrays(np.float64, (n, 2), elements=st.sampled_from(VALUES))),
        draw(hnp.arrays(np.uint64, (n, 2), elements=st.integers(0, 6))),
        draw(hnp.arrays(np.float64, n, elements=st.sampled_from([math.nan, math.nan, 0.0, 1.0]))),
    )


def random_events(n: int, keys: int, seed: int) -> Events:
    """Repeated keys, nulls, late events, a few wild values."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, keys + 1, (n, 2)).astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
    time = NOON + np.cumsum(rng.exponential(600, n)) + rng.choice([0, -5 * HOUR, 3 * DAY], n, p=[0.9, 0.08, 0.02])
    numbers = rng.exponential(50, (n, 2)).round(2)
    numbers[rng.random(numbers.shape) < 0.1] = math.nan
    numbers[rng.random(numbers.shape) < 0.01] = 1e9
    labels = rng.choice([math.nan, 0.0, 1.0], n, p=[0.8, 0.15, 0.05])
    return Events(ids, time, numbers, rng.integers(0, 12, (n, 2)).astype(np.uint64), labels)


@settings(deadline=None, max_examples=150)
@given(stream=streams(), capacity=st.integers(1, 4), cut=st.integers(0, 40))
def test_the_kernel_is_the_reference_to_the_last_bit_wherever_a_batch_ends(
    stream: Events, capacity: int, cut: int
) -> None:
    features, reference = GenericFeatures(PLAN, capacity), Reference(capacity)
    ours = np.concatenate([features.compute(*stream.part(0, cut)), features.compute(*stream.part(cut))])
    assert_same_bits(ours, reference.compute(stream))
    assert not np.isinf(ours).any()
    assert np.isfinite(rows_of(features)["rows"][:, : 2 + 2 + 2 * 9 + 6 + 4]).all()


@pytest.mark.parametrize(("keys", "capacity"), [(200, 60), (30, 1000)])
def test_a_long_stream_is_the_reference_to_the_last_bit(keys: int, capacity: int) -> None:
    stream = random_events(5000, keys, seed=keys)
    features, reference = GenericFeatures(PLAN, capacity), Reference(capacity)
    ours = features.compute(*stream)
    assert_same_bits(ours, reference.compute(stream))
    assert (features.entities.keys.evicted > 0) == (keys > capacity)
    assert np.isfinite(ours).any(axis=0).all(), "a feature that is never there is not tested"


def test_many_ways_to_cut_batches_give_the_same_bits() -> None:
    stream = random_events(3000, 900, seed=1)
    whole = GenericFeatures(PLAN, 400)
    expected = whole.compute(*stream)
    assert whole.entities.keys.evicted > 500
    rng = np.random.default_rng(2)
    for pieces in (3000, *rng.integers(2, 300, 8).tolist()):
        features = GenericFeatures(PLAN, 400, salt=pieces)
        cuts = [0, *np.sort(rng.integers(0, 3001, pieces - 1)).tolist(), 3000] if pieces < 3000 else range(3001)
        parts = [features.compute(*stream.part(start, stop)) for start, stop in itertools.pairwise(cuts)]
        assert_same_bits(np.concatenate(parts), expected)
        assert_same_state(features, whole)


def test_counts_saved_and_restored_go_on_to_the_same_bits() -> None:
    stream = random_events(2000, 100, seed=3)
    features, unbroken = GenericFeatures(PLAN), GenericFeatures(PLAN)
    for start in range(0, 2000, 250):
        restored = GenericFeatures(PLAN, salt=start)
        restored.restore_shared(features.shared())
        keys, seen, rows = features.entities.changes()
        restored.entities.put(keys, seen, rows)
        keys = features.entities.slots.nodes["key"][features.entities.keys.order()]
        restored.entities.put(keys, np.zeros(len(keys), np.int64), rows_of(features)["rows"].view(rows.dtype).ravel())
        features = restored
        assert_same_bits(
            features.compute(*stream.part(start, start + 250)), unbroken.compute(*stream.part(start, start + 250))
        )
        assert_same_state(features, unbroken)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("totals", lambda old: old * np.nan, "outside"),
        ("totals", lambda old: old + 1e7, "counts can reach"),
        ("totals", lambda old: old[:1], "expected"),
        ("values0_count", lambda old: -old, "outside"),
        ("values1_last", lambda old: old + 10_000, "outside"),
        ("values1_capacity", lambda old: np.array(5_000), "should be 4096"),
        ("values0_keys", lambda old: old * 0 + 1, "twice"),
    ],
)
def test_damaged_counts_are_refused_by_name(name: str, change: Any, problem: str) -> None:
    features = GenericFeatures(PLAN)
    features.compute(*random_events(300, 20, seed=4))
    arrays = features.shared()
    with pytest.raises(ModelError, match=problem) as caught:
        GenericFeatures(PLAN).restore_shared({**arrays, name: change(arrays[name])})
    assert name in str(caught.value)
    with pytest.raises(ModelError, match="is missing"):
        GenericFeatures(PLAN).restore_shared({key: one for key, one in arrays.items() if key != name})


def test_of_a_category_the_least_recently_seen_value_makes_room() -> None:
    plan = Plan((), ("channel",), ("card",), groups=("rarity",))
    features = GenericFeatures(plan)

    def bits(values: Any) -> Floats:
        hashes = np.asarray(values, np.uint64)[:, None]
        n = len(hashes)
        return features.compute(np.ones((n, 1), np.uint64), np.full(n, NOON), np.zeros((n, 0)), hashes)[:, 0]

    bits(np.arange(1, 4_097))
    assert bits([3])[0] < bits([4_097])[0] - 0.9  # seen once before, and never
    assert bits([2])[0] < bits([1])[0] - 0.9  # 4,097 took the place of 1
    values = [len(array) for name, array in features.shared().items() if name.startswith("values0_k")]
    assert values == [4_096]


# What the features mean.


def test_a_mean_fades_with_its_half_life() -> None:
    ids = np.ones((3, 2), np.uint64)
    numbers = np.array([[10.0, math.nan], [20.0, math.nan], [0.0, math.nan]])
    time = NOON + np.array([0.0, HOUR, HOUR])
    matrix = GenericFeatures(PLAN).compute(ids, time, numbers, np.zeros((3, 2), np.uint64))
    # 10 counts half after an hour, 20 whole.
    assert column(matrix, "card: mean amount over 1 h")[2] == pytest.approx((0.5 * 10 + 20) / 1.5)
    assert column(matrix, "card: sum of amount over 1 h")[2] == pytest.approx(25)
    assert column(matrix, "shop: events over 1 h").tolist() == pytest.approx([0, 0.5, 1.5])
    assert column(matrix, "card: log time since its last event")[1] == pytest.approx(math.log(3601))
    assert column(matrix, "day of week").tolist() == [2, 2, 2]
    assert column(matrix, "hour of day").tolist() == [12, 13, 13]
    assert np.isnan(column(matrix, "card: mean tip over 1 h")).all()


def test_a_risk_is_what_labels_have_said_by_then() -> None:
    ids = np.array([[1, 5], [2, 5], [1, 5], [3, 5], [3, 6]], np.uint64)
    labels = np.array([math.nan, 1.0, math.nan, math.nan, math.nan])
    time = NOON + np.array([0.0, 0.0, 0.0, HOUR, HOUR])
    matrix = GenericFeatures(PLAN).compute(ids, time, np.ones((5, 2)), np.zeros((5, 2), np.uint64), labels)
    assert len(matrix) == 4
    assert column(matrix, "shop: risk over 1 h").tolist() == pytest.approx([0, 1 / 1.5, 0.5 / (0.5 + 0.5), 0])
    assert column(matrix, "card: risk over 7 d").tolist() == [0, 0, 0, 0]  # it was card 2
    assert column(matrix, "shop: events over 1 h").tolist() == [0, 1, 1, 0]  # a label is no event


def test_a_streak_is_what_the_last_labels_said_and_since_when() -> None:
    labels = np.array([math.nan, 0.0, 0.0, math.nan, 1.0, 1.0, math.nan, 0.0, math.nan])
    time = NOON + DAY * np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 7.5])
    ids = np.full((9, 2), [1, 5], np.uint64)
    matrix = GenericFeatures(PLAN).compute(ids, time, np.ones((9, 2)), np.zeros((9, 2), np.uint64), labels)
    assert column(matrix, "shop: time since its labels turned")[1:].tolist() == [-2.0, 2.0, -0.5]
    assert math.isnan(column(matrix, "shop: time since its labels turned")[0])
    assert column(matrix, "shop: risk by its last 2 labels").tolist() == [0.0, 0.0, 0.75, 0.375]
    assert column(matrix, "shop: risk by its last 5 labels").tolist() == pytest.approx([0.0, 0.0, 0.36, 0.288])


def test_an_excess_is_how_much_more_than_usual_it_has_been_of_late() -> None:
    amounts = [10.0, 11.0, 9.0, 10.0, 300.0, 10.0, 2.0, 10.0]
    ids, numbers = np.ones((8, 2), np.uint64), np.column_stack([amounts, np.ones(8)])
    time = NOON + HOUR * np.array([0.0, 0, 0, 0, 0, 0, 1, 1])
    matrix = GenericFeatures(PLAN).compute(ids, time, numbers, np.zeros((8, 2), np.uint64))
    excess = column(matrix, "card: excess of amount over 1 h")
    assert excess[:5].tolist() == [0.0] * 5
    assert excess[5] == pytest.approx(5 / (5 + 0.5))  # 5 standard deviations at most, of five events
    assert excess[6] == pytest.approx(2.5 / (3 + 0.5))
    assert excess[7] == pytest.approx(2.5 / (4 + 0.5))  # little is no excess
    assert column(matrix, "card: excess of tip over 7 d").tolist() == [0.0] * 8


def test_what_is_new_to_a_key_is_new_once() -> None:
    categories = np.array([[1, 1], [2, 1], [1, 1], [3, 1], [4, 1], [2, 0]], np.uint64)
    matrix = GenericFeatures(PLAN).compute(np.ones((6, 2), np.uint64), np.full(6, NOON), np.zeros((6, 2)), categories)
    assert column(matrix, "card: channel is new").tolist() == [
        0,
        1,
        0,
        1,
        1,
        1,
    ]  # 2 was forgotten
    assert column(matrix, "card: country is new")[:5].tolist() == [0, 0, 0, 0, 0]
    assert np.isnan(column(matrix, "card: country is new")[5])
    assert column(matrix, "card: shop is new").tolist() == [0] * 6


def test_equal_names_of_two_entities_are_two_entities() -> None:
    matrix = GenericFeatures(PLAN).compute(
        np.array([[1, 2], [2, 1]], np.uint64), np.full(2, NOON), np.zeros((2, 2)), np.zeros((2, 2), np.uint64)
    )
    assert column(matrix, "card: events over 1 h").tolist() == [0, 0]
    assert column(matrix, "shop: events over 1 h").tolist() == [0, 0]


def test_groups_choose_features_and_change_none() -> None:
    stream = random_events(500, 20, seed=6)
    every = GenericFeatures(PLAN).compute(*stream)
    for group in GROUPS:
        plan = replace(PLAN, groups=(group,))
        assert plan.features
        some = GenericFeatures(plan).compute(*stream)
        assert_same_bits(some, np.column_stack([column(every, name) for name in plan.features]))


def test_names_are_a_keys_business() -> None:
    stream = random_events(1000, 30, seed=5)
    renamed = stream._replace(entities=stream.entities * np.uint64(0xD1342543DE82EF95))  # odd, hence one to one
    assert_same_bits(GenericFeatures(PLAN).compute(*stream), GenericFeatures(PLAN).compute(*renamed))


def test_another_shape_is_refused() -> None:
    stream = random_events(10, 3, seed=7)
    with pytest.raises(ModelError, match="numbers: is"):
        GenericFeatures(PLAN).compute(*stream._replace(numbers=stream.numbers[:, :1]))
