"""Behavioural features, bit for bit against a plain Python reference, and what they must mean."""

import itertools
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from skimstream.scoring.errors import ModelError
from skimstream.scoring.features.behaviour import CATEGORIES, FEATURES, NUMBERS, TRACKED, UNITS, BehaviourFeatures
from skimstream.scoring.features.behaviour_kernel import behaviour_rows
from stage.behaved import DAY, HOUR, NOON, Events, events, random_events


def column(matrix: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    return matrix[:, FEATURES.index(name)]


def assert_same_bits(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    """Equal to the last bit and the sign of zero; any NaN equals any other."""
    assert one.shape == other.shape
    same = (one.view(np.uint64) == other.view(np.uint64)) | (np.isnan(one) & np.isnan(other))
    rows, columns = np.nonzero(~same)
    assert same.all(), [
        (row, FEATURES[c], one[row, c], other[row, c]) for row, c in zip(rows[:5], columns, strict=False)
    ]


def assert_same_state(one: BehaviourFeatures, other: BehaviourFeatures) -> None:
    ours, theirs = one.to_arrays(), other.to_arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert (array.dtype, array.tobytes()) == (theirs[name].dtype, theirs[name].tobytes()), name


# The reference: dicts and lists, one event at a time. Its constants are written out, so that a change of them shows.

WITH_HISTORY = dict.fromkeys(  # and the resolution
    "time_on_page clicks_count page_views session_duration click_events keyboard_events".split(), 1.0
) | {"transaction_amount": 0.01, "mouse_movement": 1.0}


PACES = {
    "clicks_per_second": "click_events",
    "mouse_per_second": "mouse_movement",
    "amount_per_second": "transaction_amount",
}


class User:
    def __init__(self) -> None:
        self.last_time: float | None = None
        self.rates = [0.0, 0.0]
        self.timed = 0
        self.sine = self.cosine = 0.0
        self.history = {name: (0, 0.0, 0.0) for name in WITH_HISTORY}  # seen, mean, variance
        self.recent: dict[str, list[int]] = {"device_type": [], "geolocation_city": [], "browser_info": []}


class Reference:
    """`BehaviourFeatures` in plain Python, its users in an OrderedDict."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.users: OrderedDict[int, User] = OrderedDict()
        self.evicted = 0
        self.counts: dict[tuple[str, int], int] = {}
        self.totals = dict.fromkeys(CATEGORIES, 0)

    def compute(self, stream: Events) -> NDArray[np.float64]:
        rows = zip(*(column.tolist() for column in stream), strict=True)
        return np.array([list(self.row(*row).values()) for row in rows]).reshape(-1, len(FEATURES))

    def row(self, key: int, time: float, values: list[float], hashes: list[int]) -> dict[str, float]:
        features = dict.fromkeys(FEATURES, math.nan)
        numbers = {name: value for name, value in zip(NUMBERS, values, strict=True) if math.isfinite(value)}
        categories = {name: value for name, value in zip(CATEGORIES, hashes, strict=True) if value}
        now = time if abs(time) <= 1e11 else None
        features |= numbers
        features |= {f"{name}_rarity": self.rarity(name, value) for name, value in categories.items()}
        if now is not None:
            features["hour_of_day"] = now % 86400 / 3600
        for pace, name in PACES.items():
            if {name, "time_on_page"} <= numbers.keys():
                features[pace] = numbers[name] / max(numbers["time_on_page"], 1.0)
        if key:
            user = self.touch(key)
            features |= self.pace(user, now)
            if now is not None:
                features["hour_distance"] = self.hour_distance(user, features["hour_of_day"])
            for name in WITH_HISTORY.keys() & numbers.keys():
                features |= self.against_history(user, name, numbers[name])
            for flag, name in (("device", "device_type"), ("city", "geolocation_city"), ("browser", "browser_info")):
                if name in categories:
                    features[f"new_{flag}"] = self.new(user.recent[name], categories[name])
        return features

    def touch(self, key: int) -> User:
        if key not in self.users and len(self.users) == self.capacity:
            self.users.popitem(last=False)
            self.evicted += 1
        self.users[key] = self.users.pop(key) if key in self.users else User()
        return self.users[key]

    def rarity(self, name: str, value: int) -> float:
        bits = math.log2((self.totals[name] + 1) / (self.counts.get((name, value), 0) + 1))
        self.totals[name] += 1
        if (name, value) in self.counts or sum(known == name for known, _ in self.counts) < 4096:
            self.counts[name, value] = self.counts.get((name, value), 0) + 1
        return bits

    def pace(self, user: User, now: float | None) -> dict[str, float]:
        features, elapsed, late = {}, 0.0, 0.0
        if now is not None and user.last_time is not None:
            elapsed = max(now - user.last_time, 0.0)
            features["log_seconds_since_last"] = math.log1p(elapsed)
            if 0 < user.last_time - now <= 86400:
                late = user.last_time - now
        for k, (name, half_life) in enumerate({"events_1h": 3600.0, "events_24h": 86400.0}.items()):
            rate = math.log(2) / half_life
            features[name] = user.rates[k] * math.exp(-elapsed * rate)
            user.rates[k] = features[name] + math.exp(-late * rate)
        if now is not None and not late:
            user.last_time = now
        return features

    def hour_distance(self, user: User, hour: float) -> float:
        angle = hour * (2 * math.pi / 24)
        sine, cosine = math.sin(angle), math.cos(angle)
        distance = max(0.0, 1 - (sine * user.sine + cosine * user.cosine)) if user.timed >= 3 else 0.0
        user.timed += 1
        weight = max(1 / user.timed, 1 / 64)
        user.sine += weight * (sine - user.sine)
        user.cosine += weight * (cosine - user.cosine)
        return distance

    def against_history(self, user: User, name: str, value: float) -> dict[str, float]:
        resolution = WITH_HISTORY[name]
        seen, mean, variance = user.history[name]
        features = {f"{name}_z": 0.0}
        if name in ("transaction_amount", "time_on_page"):
            features[f"{name}_ratio"] = min(max(value / max(mean, resolution), -1000.0), 1000.0) if seen >= 3 else 1.0
        value = min(max(value, -1e30), 1e30)
        spread = math.sqrt(variance + resolution * resolution + (0.05 * mean) * (0.05 * mean))
        if seen >= 3:
            features[f"{name}_z"] = min(max((value - mean) / spread, -20.0), 20.0)
        if seen >= 5:
            value = min(max(value, mean - 3 * spread), mean + 3 * spread)
        weight = max(1 / (seen + 1), 1 / 64)
        change = value - mean
        user.history[name] = seen + 1, mean + weight * change, (1 - weight) * (variance + weight * change * change)
        return features

    def new(self, recent: list[int], value: int) -> float:
        flag = float(bool(recent) and value not in recent)
        if value in recent:
            recent.remove(value)
        recent.insert(0, value)
        del recent[8:]
        return flag


TIMES = [-30 * DAY, -2 * DAY, -DAY, -7 * HOUR, -1.0, 0.0, 0.25, 61.0, HOUR, 5 * HOUR, DAY, 40 * DAY]
VALUES = [math.nan, 0.0, -0.0, 1.0, 1.5, 7.0, 120.0, -3.0, 1e6, 1e30, 1e200, -1e308, 5e-324, math.inf, -math.inf]


@st.composite
def streams(draw: st.DrawFn) -> Events:
    n = draw(st.integers(0, 40))
    steps = draw(st.lists(st.sampled_from(TIMES), min_size=n, max_size=n))
    time = NOON + np.cumsum(np.array(steps, np.float64))
    lost = draw(hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 0.0, 0.0, math.nan, math.inf, -2e12])))
    return Events(
        draw(hnp.arrays(np.uint64, n, elements=st.integers(0, 6))),
        np.where(lost == 0, time, lost),
        draw(hnp.arrays(np.float64, (n, len(NUMBERS)), elements=st.sampled_from(VALUES))),
        draw(hnp.arrays(np.uint64, (n, len(CATEGORIES)), elements=st.integers(0, 11))),
    )


@settings(deadline=None, max_examples=150)
@given(stream=streams(), capacity=st.integers(1, 6), cut=st.integers(0, 40))
def test_the_kernel_is_the_reference_to_the_last_bit(stream: Events, capacity: int, cut: int) -> None:
    features, reference = BehaviourFeatures(capacity), Reference(capacity)
    ours = np.concatenate([features.compute(*stream.part(0, cut)), features.compute(*stream.part(cut))])
    assert_same_bits(ours, reference.compute(stream))
    assert not np.isinf(ours).any()
    assert (features.tracked, features.evicted) == (len(reference.users), reference.evicted)
    assert features.to_arrays()["users_keys"].tolist() == list(reference.users)


@pytest.mark.parametrize(("users", "capacity"), [(300, 100), (40, 1000)])
def test_a_long_stream_is_the_reference_to_the_last_bit(users: int, capacity: int) -> None:
    stream = random_events(8000, users, seed=users)
    features, reference = BehaviourFeatures(capacity), Reference(capacity)
    ours = features.compute(*stream)
    assert_same_bits(ours, reference.compute(stream))
    assert features.evicted == reference.evicted
    assert np.isfinite(ours).any(axis=0).all(), "a feature that is never there is not tested"


def test_twenty_ways_to_cut_batches_give_the_same_bits() -> None:
    stream = random_events(4000, 3000, seed=1)
    whole = BehaviourFeatures(1500)
    expected = whole.compute(*stream)
    assert whole.evicted > 500
    rng = np.random.default_rng(2)
    for pieces in (4000, *rng.integers(2, 400, 19).tolist()):
        features = BehaviourFeatures(1500, salt=pieces)
        cuts = [0, *np.sort(rng.integers(0, 4001, pieces - 1)).tolist(), 4000] if pieces < 4000 else range(4001)
        parts = [features.compute(*stream.part(start, stop)) for start, stop in itertools.pairwise(cuts)]
        assert_same_bits(np.concatenate(parts), expected)
        assert_same_state(features, whole)


def test_saved_and_loaded_it_goes_on_to_the_same_bits() -> None:
    stream = random_events(3000, 200, seed=3)
    features, unbroken = BehaviourFeatures(80), BehaviourFeatures(80)
    for start in range(0, 3000, 300):
        batch = stream.part(start, start + 300)
        saved = features.to_arrays()
        for array in saved.values():
            array.setflags(write=False)
        features = BehaviourFeatures.from_arrays(saved, salt=start)
        assert_same_bits(features.compute(*batch), unbroken.compute(*batch))
        assert_same_state(features, unbroken)
    assert features.evicted == unbroken.evicted > 0


def test_saved_arrays_are_copies() -> None:
    stream, features = random_events(100, 20, seed=4), BehaviourFeatures(80)
    features.compute(*stream)
    saved = features.to_arrays()
    before = {name: array.copy() for name, array in saved.items()}
    for state in (features, BehaviourFeatures.from_arrays(saved)):
        state.compute(*stream)
    assert all(np.array_equal(array, before[name]) for name, array in saved.items())


def test_the_cap_holds_and_memory_stays_flat() -> None:
    features, after_the_cap = BehaviourFeatures(10_000), set()
    for start in range(0, 300_000, 5000):
        keys = np.arange(start + 1, start + 5001)
        features.compute(*events(keys, NOON + start, transaction_amount=1.0, categories={"geolocation_city": keys}))
        assert features.tracked == min(start + 5000, 10_000)
        if start >= 30_000:
            after_the_cap.add(features.state_bytes)
    assert features.evicted == 290_000
    assert len(after_the_cap) == 1
    assert max(after_the_cap) < 10_000 * 480 + 1_000_000
    assert BehaviourFeatures().state_bytes < 600_000


# What the features mean.


def test_names_and_units() -> None:
    assert len(FEATURES) == len(UNITS) == len(set(FEATURES)) == 44
    assert FEATURES[:17] == NUMBERS
    assert tuple(WITH_HISTORY) == TRACKED
    assert not any(word in name for name in FEATURES for word in ("user_id", "session_id", "transaction_date", "_id"))


def test_users_are_keys_and_never_features() -> None:
    stream = random_events(2000, 50, seed=5)
    renamed = stream._replace(user=stream.user * np.uint64(0xD1342543DE82EF95))  # odd, hence one to one; 0 stays 0
    assert_same_bits(BehaviourFeatures(20).compute(*stream), BehaviourFeatures(20).compute(*renamed))


def test_without_a_user_only_the_users_features_are_missing() -> None:
    features = BehaviourFeatures()
    matrix = features.compute(*events([0, 0], NOON, transaction_amount=5.0, categories={"device_type": 1}))
    assert features.tracked == 0
    assert np.isnan(matrix[:, FEATURES.index("hour_distance") :]).all()
    assert column(matrix, "device_type_rarity").tolist() == [0.0, 0.0]
    assert column(matrix, "hour_of_day").tolist() == [12.0, 12.0]


def test_infinite_is_null_and_neither_enters_a_mean() -> None:
    stream = random_events(2000, 30, seed=6)
    holes = np.random.default_rng(7).random(stream.numbers.shape) < 0.2
    infinite, null = np.where(holes, math.inf, stream.numbers), np.where(holes, math.nan, stream.numbers)
    with_infinite, with_null = BehaviourFeatures(), BehaviourFeatures()
    ours = with_infinite.compute(*stream._replace(numbers=infinite))
    assert_same_bits(ours, with_null.compute(*stream._replace(numbers=null)))
    assert_same_state(with_infinite, with_null)
    there = np.isfinite(column(ours, "transaction_amount")) & (stream.user != 0)
    assert np.isfinite(column(ours, "transaction_amount_z")[there]).all()


def test_no_finite_number_makes_the_state_infinite() -> None:
    amounts = np.tile([1e308, -1e308, 1.7e308, 5e-324, 3.0], 40)
    times = np.tile([1e308, -1e308, NOON, 1e11, -1e11], 40)
    features = BehaviourFeatures()
    matrix = features.compute(*events(np.ones(200), times, transaction_amount=amounts, time_on_page=amounts))
    assert not np.isinf(matrix).any()
    assert all(np.isfinite(array).all() for array in features.to_arrays().values())
    assert np.abs(column(matrix, "transaction_amount_z")).max() <= 20
    assert np.abs(column(matrix, "transaction_amount_ratio")).max() <= 1000


def test_rarity_is_the_surprise_in_bits() -> None:
    cities = [7, 7, 7, 0, 8, 7, 9]
    matrix = BehaviourFeatures().compute(*events(np.arange(1, 8), NOON, categories={"geolocation_city": cities}))
    expected = [0, 0, 0, math.nan, 2, math.log2(5 / 4), math.log2(6)]
    assert column(matrix, "geolocation_city_rarity").tolist() == pytest.approx(expected, nan_ok=True)


def test_every_value_is_counted_as_the_table_grows_within_a_batch() -> None:
    features = BehaviourFeatures()
    stream = events(np.ones(1000), NOON, categories=dict.fromkeys(CATEGORIES, np.arange(1, 1001)))
    features.compute(*stream)
    again = features.compute(*stream)
    expected = [math.log2((1000 + seen + 1) / 2) for seen in range(1000)]
    for category in CATEGORIES:
        assert column(again, f"{category}_rarity").tolist() == expected


def test_a_flood_of_values_stays_never_seen_and_crowds_out_no_other_category() -> None:
    features = BehaviourFeatures()
    features.compute(*events(np.ones(10_000), NOON, categories={"geolocation_city": np.arange(1, 10_001)}))
    again = {"geolocation_city": [1, 4096, 4097, 10_000], "device_type": 1}
    matrix = features.compute(*events(np.ones(4), NOON, categories=again))
    rarity = column(matrix, "geolocation_city_rarity")
    assert rarity.tolist() == [
        math.log2(total / count) for total, count in [(10001, 2), (10002, 2), (10003, 1), (10004, 1)]
    ]
    assert column(matrix, "device_type_rarity").tolist() == [0, 0, 0, 0]
    assert len(features.to_arrays()["values_keys"]) == 4096 + 1


def test_hour_distance_from_one_habitual_hour() -> None:
    matrix = BehaviourFeatures().compute(*events(np.ones(5), NOON + np.array([0, 1, 2, 3, 4.5]) * DAY))
    assert column(matrix, "hour_of_day").tolist() == [12, 12, 12, 12, 0]
    assert column(matrix, "hour_distance").tolist() == pytest.approx([0, 0, 0, 0, 2])


def test_hour_distance_without_a_habit_is_one() -> None:
    matrix = BehaviourFeatures().compute(*events(np.ones(49), NOON + np.arange(49) * HOUR))
    assert column(matrix, "hour_distance")[[24, 48]].tolist() == pytest.approx([1, 1])


def test_rates_and_time_since_last() -> None:
    matrix = BehaviourFeatures().compute(*events([1, 1, 1, 2], NOON + np.array([0, HOUR, HOUR, HOUR])))
    assert column(matrix, "events_1h").tolist() == pytest.approx([0, 0.5, 1.5, 0])
    assert column(matrix, "events_24h").tolist() == pytest.approx([0, 0.5 ** (1 / 24), 0.5 ** (1 / 24) + 1, 0])
    expected = [math.nan, math.log(3601), 0, math.nan]
    assert column(matrix, "log_seconds_since_last").tolist() == pytest.approx(expected, nan_ok=True)


def test_after_late_events_the_rates_are_those_of_the_sorted_stream() -> None:
    rng = np.random.default_rng(8)
    times = NOON + rng.permutation(np.sort(rng.uniform(0, DAY, 60)))
    end = NOON + 25 * HOUR
    matrix = BehaviourFeatures().compute(*events(np.ones(61), [*times, end]))
    assert (column(matrix, "log_seconds_since_last")[1:] == 0).sum() > 20, "most must come late"
    assert column(matrix, "events_1h")[-1] == pytest.approx((0.5 ** ((end - times) / HOUR)).sum())
    assert column(matrix, "events_24h")[-1] == pytest.approx((0.5 ** ((end - times) / DAY)).sum())


def test_one_date_in_the_far_future_does_not_stop_the_clock() -> None:
    times = [NOON, NOON + 3650 * DAY, *(NOON + 60.0 * np.arange(1, 21))]
    matrix = BehaviourFeatures().compute(*events(np.ones(22), times))
    assert column(matrix, "events_1h")[-1] > 10
    assert column(matrix, "log_seconds_since_last")[-1] == pytest.approx(math.log(61))


def test_z_is_neutral_first_and_then_in_standard_deviations() -> None:
    amounts = [90.0, 110.0, 100.0, 190.0]
    matrix = BehaviourFeatures().compute(*events(np.ones(4), NOON, transaction_amount=amounts))
    spread = math.sqrt(200 / 3 + 0.01**2 + 5**2)
    assert column(matrix, "transaction_amount_z").tolist() == pytest.approx([0, 0, 0, 90 / spread])
    assert column(matrix, "transaction_amount_ratio").tolist() == pytest.approx([1, 1, 1, 1.9])
    assert np.isnan(column(matrix, "time_on_page_z")).all()


def test_a_compromised_account_does_not_move_its_own_baseline() -> None:
    rng = np.random.default_rng(9)
    amounts = np.concatenate([rng.normal(100, 10, 200), rng.normal(2000, 100, 10)])
    features = BehaviourFeatures()
    matrix = features.compute(*events(np.ones(210), NOON, transaction_amount=amounts))
    assert column(matrix, "transaction_amount_z")[200:].min() == 20
    assert features.to_arrays()["users_mean"][0, TRACKED.index("transaction_amount")] < 120


def test_one_click_more_than_never_is_one_standard_deviation() -> None:
    matrix = BehaviourFeatures().compute(*events(np.ones(11), NOON, click_events=[0] * 10 + [1]))
    assert column(matrix, "click_events_z").tolist() == [0] * 10 + [1]


def test_new_is_what_is_not_among_the_last_eight_distinct_values() -> None:
    devices = [1, 1, 2, 3, 1, 4, 5, 6, 7, 8, 9, 1, 2, 0, 2]
    matrix = BehaviourFeatures().compute(*events(np.ones(15), NOON, categories={"device_type": devices}))
    expected = [0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, math.nan, 0]  # 1 came fifth again, so that 2 was the oldest
    assert column(matrix, "new_device").tolist() == pytest.approx(expected, nan_ok=True)
    assert np.isnan(column(matrix, "new_city")).all()


# What may be given.


def test_any_memory_layout_runs_in_one_compiled_kernel() -> None:
    stream = random_events(500, 20, seed=10)
    expected = BehaviourFeatures().compute(*stream)
    for array in stream:
        array.setflags(write=False)
    strided = stream._replace(
        numbers=np.repeat(stream.numbers, 2, axis=1)[:, ::2], categories=np.asfortranarray(stream.categories)
    )
    assert_same_bits(BehaviourFeatures().compute(*stream), expected)
    assert_same_bits(BehaviourFeatures().compute(*strided), expected)
    assert len(behaviour_rows.signatures) == 1


def test_other_shapes_and_dtypes_are_refused_by_name() -> None:
    stream = events([1, 2, 3], NOON)
    wrong: list[tuple[str, Any]] = [("user", np.ones(3, np.int64)), ("time", np.ones(2)), ("numbers", np.ones((3, 16)))]
    wrong += [("numbers", np.ones((3, 17), np.float32)), ("categories", np.ones(18, np.uint64))]
    for name, value in wrong:
        with pytest.raises(ModelError) as caught:
            BehaviourFeatures().compute(*stream._replace(**{name: value}))
        assert caught.value.where == name


def saved_state() -> dict[str, NDArray[Any]]:
    features = BehaviourFeatures(30)
    features.compute(*random_events(300, 40, seed=11))
    return features.to_arrays()


@pytest.mark.parametrize("name", list(saved_state()))
def test_damaged_arrays_are_refused(name: str) -> None:
    arrays = saved_state()
    good = arrays[name]
    bad: list[Any] = [None, good.astype(object), good.astype(np.float32), good[..., None]]
    if good.ndim:
        bad.append(good[:-1])
    if good.dtype == np.float64:
        bad += [np.where(good == good.flat[0], wrong, good) for wrong in (math.nan, math.inf, -1e100)]
    if good.dtype == np.int64:
        bad += [np.where(good == good.flat[0], wrong, good) for wrong in (-1, 2**63 - 1)]
    for damaged in bad:
        with pytest.raises(ModelError):
            BehaviourFeatures.from_arrays(arrays | {name: damaged})


def test_the_numbers_of_values_must_add_up() -> None:
    arrays = saved_state()
    with pytest.raises(ModelError, match="categories_kept"):
        BehaviourFeatures.from_arrays(arrays | {"categories_kept": arrays["categories_kept"] + 1})


def test_flipped_bits_are_refused_or_harmless() -> None:
    rng, stream, refused = np.random.default_rng(12), random_events(200, 40, seed=13), 0
    for _ in range(300):
        arrays = saved_state()
        name = rng.choice(list(arrays))
        raw = bytearray(arrays[name].tobytes())
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        arrays[name] = np.frombuffer(raw, arrays[name].dtype).reshape(arrays[name].shape)
        try:
            features = BehaviourFeatures.from_arrays(arrays)
        except ModelError:
            refused += 1
            continue
        assert not np.isinf(features.compute(*stream)[:, len(NUMBERS) :]).any()
        assert all(np.isfinite(array).all() for array in features.to_arrays().values())
    assert 10 < refused < 290
