"""Rules at their edges, modes learned from records, and independence of batches."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.errors import ModelError
from skimstream.scoring.features.observation import (
    BAND_TOLERANCE,
    FEATURES,
    KNOWN,
    MODES,
    MOST_VOTES,
    NUMBERS,
    OVER_LIMIT,
    OVER_WEIGHT,
    UNITS,
    ObservationFeatures,
    solar_elongation,
)

RULES = [name for name in FEATURES if name.startswith("rule_")]
# Near the ecliptic pole the Sun is always about 90 degrees away: any time will do.
GOOD = {
    "s_ra": 270.0,
    "s_dec": 66.0,
    "t_min": 60_650.0,
    "t_max": 60_650.1,
    "t_exptime": 8_000.0,
    "em_min": 1_755.0,
    "em_max": 2_226.0,
    "t_obs_release": 61_015.0,
}
NAN = float("nan")


def numbers(*records: dict[str, float]) -> NDArray[np.float64]:
    return np.array([[record[name] for name in NUMBERS] for record in records])


def matrix(*records: dict[str, float]) -> NDArray[np.float64]:
    return ObservationFeatures().compute(numbers(*records), np.full(len(records), 7, np.uint64))


def verdict(**changes: float) -> dict[str, float]:
    """The rules' verdict on a record of a mode that is known."""
    last = matrix(GOOD, GOOD, {**GOOD, **changes})[-1]
    return {name: float(last[FEATURES.index(name)]) for name in RULES}


def test_a_good_record_breaks_no_rule_and_every_feature_has_a_unit() -> None:
    assert verdict() == dict.fromkeys(RULES, 0.0)
    assert len(UNITS) == len(FEATURES) == len(set(FEATURES))


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"s_ra": 360.0}, set()),
        ({"s_ra": 630.0}, {"rule_coordinates"}),
        ({"s_ra": -90.0}, {"rule_coordinates"}),
        ({"s_dec": 90.0}, set()),
        ({"s_dec": 114.0}, {"rule_coordinates"}),  # the same place, over the pole
        ({"s_dec": 90.1}, {"rule_coordinates"}),
        ({"s_ra": 270.0, "s_dec": 0.0}, {"rule_elongation"}),  # December, the Sun at 263 degrees
        ({"t_max": 60_650.0, "t_exptime": 0.0}, set()),
        ({"t_max": 60_649.0}, {"rule_times", "rule_exposure"}),
        ({"t_obs_release": 60_649.2}, set()),  # a release given as a date
        ({"t_obs_release": 60_649.0}, {"rule_release"}),
        ({"t_exptime": 8_640 * 1.001 + 1.9}, set()),
        ({"t_exptime": 8_640 * 1.001 + 2.1}, {"rule_exposure"}),
        ({"t_exptime": -1.0}, {"rule_exposure"}),
        ({"em_min": 1_755.9, "em_max": 2_225.1}, set()),
        ({"em_min": 1_756.1}, {"rule_wavelength"}),
        ({"em_max": 2_200.0}, {"rule_wavelength"}),
    ],
)
def test_each_rule_at_its_edges(changes: dict[str, float], broken: set[str]) -> None:
    assert {name for name, value in verdict(**changes).items() if value > 0} == broken


@pytest.mark.parametrize(
    ("missing", "unjudged"),
    [
        (("s_ra",), {"rule_coordinates", "rule_elongation"}),
        (("t_min", "t_max"), {"rule_times", "rule_release", "rule_elongation", "rule_exposure"}),
        (("t_obs_release",), {"rule_release"}),
        (("t_exptime",), {"rule_exposure"}),
        (("em_max",), {"rule_wavelength"}),
        (NUMBERS, set(RULES)),
    ],
)
def test_what_is_missing_is_judged_by_nothing(missing: tuple[str, ...], unjudged: set[str]) -> None:
    assert {name for name, value in verdict(**dict.fromkeys(missing, NAN)).items() if math.isnan(value)} == unjudged


def test_one_end_of_an_observation_is_enough_to_tell_that_it_is_after_the_release() -> None:
    assert verdict(t_max=NAN, t_min=70_000.0)["rule_release"] == 1
    assert verdict(t_min=NAN, t_max=70_000.0)["rule_release"] == 1


def test_the_sun_stands_where_almanacs_have_it() -> None:
    """Equinoxes and solstices of 2024 to the minute (USNO): the Sun at ra 0, 90, 180, 270 and dec 0, ±23.44."""
    mjd = np.array([60_389.129, 60_481.869, 60_575.530, 60_665.389])
    ra, dec = np.array([0.0, 90.0, 180.0, 270.0]), np.array([0.0, 23.44, 0.0, -23.44])
    assert (solar_elongation(ra, dec, mjd) < 0.02).all()
    np.testing.assert_allclose(solar_elongation(ra + 180, -dec, mjd), 180, atol=0.02)
    np.testing.assert_allclose(solar_elongation(np.full(4, 270.0), np.full(4, 66.56), mjd), 90, atol=0.02)


def test_a_band_that_few_get_wrong_stays_known_however_they_err() -> None:
    rng = np.random.default_rng(1)
    wrong = rng.random(600) < 0.3
    records = [{**GOOD, "em_min": 1_755 + (rng.uniform(5, 80) if one else 0.0)} for one in wrong]
    found = matrix(GOOD, GOOD, GOOD, *records)[3:, FEATURES.index("rule_wavelength")]
    # Votes may run out for a moment; then the rule says nothing, or is wrong about a record or two.
    assert ((found == 1) & wrong).sum() > 0.97 * wrong.sum()
    assert ((found == 1) & ~wrong).sum() <= 6


def test_a_band_that_changed_for_good_is_learned_anew() -> None:
    moved = {**GOOD, "em_min": 1_700.0}
    found = matrix(*[GOOD] * 500, *[moved] * (MOST_VOTES + 10))[500:, FEATURES.index("rule_wavelength")]
    assert found[0] == 1
    assert found[-1] == 0


def test_a_mode_whose_exposures_exceed_their_spans_by_nature_silences_the_rule() -> None:
    long = {**GOOD, "t_exptime": 12_000.0}
    found = matrix(*[GOOD] * 20, *[long] * 30)[20:, FEATURES.index("rule_exposure")]
    silent_after = math.ceil(math.log(1 - OVER_LIMIT) / math.log(1 - OVER_WEIGHT))
    assert found.tolist() == [1.0] * silent_after + [0.0] * (30 - silent_after)
    other = ObservationFeatures()
    other.compute(numbers(*[long] * 30), np.full(30, 8, np.uint64))
    assert other.compute(numbers(long), np.array([9], np.uint64))[0, FEATURES.index("rule_exposure")] == 1


def reference_judge(data: NDArray[np.float64], modes: list[int], over: list[float]) -> tuple[list[float], list[float]]:
    """The kernel in plain Python; no more modes than fit."""
    known: dict[int, list[float]] = {}
    silenced, wrong = list(over), [NAN] * len(modes)
    for i, key in enumerate(modes):
        if key == 0:
            continue
        mode = known.setdefault(key, [0.0, 0.0, 0, 0.0])
        if not math.isnan(over[i]):
            silenced[i] = 0.0 if mode[3] > OVER_LIMIT else over[i]
            mode[3] += OVER_WEIGHT * (over[i] - mode[3])
        low, high = data[i, NUMBERS.index("em_min")], data[i, NUMBERS.index("em_max")]
        if math.isnan(low) or math.isnan(high):
            continue
        same = abs(low - mode[0]) <= BAND_TOLERANCE and abs(high - mode[1]) <= BAND_TOLERANCE
        if mode[2] >= KNOWN:
            wrong[i] = 0.0 if same else 1.0
        if mode[2] == 0:
            mode[:3] = [low, high, 1]
        elif same:
            mode[2] = min(mode[2] + 1, MOST_VOTES)
        else:
            mode[2] -= 1
    return silenced, wrong


def made(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Records of few modes with all kinds of faults and gaps."""
    data = numbers(*[GOOD] * n)
    data[:, NUMBERS.index("t_exptime")] *= rng.choice([1.0, 1.5], n)
    data[:, NUMBERS.index("em_min")] += rng.choice([0.0, 0.5, 30.0], n, p=[0.6, 0.2, 0.2])
    data[rng.random(data.shape) < 0.05] = np.nan
    return data, rng.integers(0, 5, n).astype(np.uint64)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 60), max_size=5))
def test_cuts_and_checkpoints_change_no_bit_and_the_kernel_does_what_plain_python_does(
    seed: int, cuts: list[int]
) -> None:
    data, modes = made(np.random.default_rng(seed), 120)
    whole = ObservationFeatures(salt=1).compute(data, modes)
    state, parts = ObservationFeatures(salt=2), []
    for rows in np.split(np.arange(120), np.cumsum(cuts).clip(0, 120)):
        parts.append(state.compute(data[rows], modes[rows]))
        after = ObservationFeatures(salt=3)
        after.restore(state.shared())
        state = after
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    fixed = ObservationFeatures().compute(data, np.zeros(120, np.uint64))[:, FEATURES.index("rule_exposure")]
    silenced, wrong = reference_judge(data, modes.tolist(), fixed.tolist())
    np.testing.assert_array_equal(whole[:, FEATURES.index("rule_exposure")], silenced)
    np.testing.assert_array_equal(whole[:, FEATURES.index("rule_wavelength")], wrong)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=8, max_size=8))
def test_absurd_numbers_warn_nobody_and_can_be_saved(values: list[float]) -> None:
    state = ObservationFeatures()
    found = state.compute(np.array([values, values]), np.full(2, 7, np.uint64))
    rules = found[:, [FEATURES.index(name) for name in RULES]]
    assert np.isin(rules[~np.isnan(rules)], (0.0, 1.0)).all()
    ObservationFeatures().restore(state.shared())


def test_modes_are_bounded_and_the_least_recently_seen_goes_first() -> None:
    state = ObservationFeatures()
    size = state.state_bytes
    many = np.arange(1, 3 * MODES, dtype=np.uint64)
    state.compute(numbers(*[GOOD] * len(many)), many)
    assert len(state.shared()["modes_votes"]) == MODES
    assert state.state_bytes == size
    assert state.shared()["modes_keys"][-1] == many[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modes_votes", np.array([-1], np.int64)),
        ("modes_over", np.array([np.nan])),
        ("modes_em_min", np.array([np.inf])),
        ("modes_em_max", np.array([1.0, 2.0])),
        ("modes_capacity", np.array(MODES - 1, np.int64)),
        ("modes_keys", np.array([0], np.uint64)),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(name: str, value: NDArray[np.generic]) -> None:
    state = ObservationFeatures()
    state.compute(numbers(GOOD), np.full(1, 7, np.uint64))
    before = state.shared()
    with pytest.raises(ModelError, match="modes_"):
        state.restore({**before, name: value})
    for array, kept in zip(state.shared().values(), before.values(), strict=True):
        np.testing.assert_array_equal(array, kept)
