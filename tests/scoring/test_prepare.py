import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skimstream.scoring.errors import ModelError
from skimstream.scoring.explain import Explanations
from skimstream.scoring.prepare import LARGEST, Reference

ROWS = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 10.0, 0.0]


@given(st.lists(st.floats(), min_size=3, max_size=3))
def test_any_row_becomes_finite_and_bounded(row: list[float]) -> None:
    reference = Reference.fit(ROWS)
    filled, missing = reference.fill(np.array([row]))
    assert np.isfinite(filled).all()
    assert (filled >= reference.low).all()
    assert (filled <= reference.high).all()
    assert missing[0].tolist() == [not np.isfinite(value) for value in row]
    assert (filled[missing] == np.broadcast_to(reference.median, (1, 3))[missing]).all()


def test_training_rows_pass_unchanged() -> None:
    filled, missing = Reference.fit(ROWS).fill(ROWS)
    np.testing.assert_array_equal(filled, ROWS)
    assert not missing.any()


def test_a_rare_flag_has_a_spread_though_its_quartiles_are_equal() -> None:
    flags = np.zeros((1_000, 1))
    flags[:10] = 1
    assert Reference.fit(flags).spread[0] == pytest.approx(0.0995, abs=1e-3)


def test_hostile_training_values_stay_within_float32() -> None:
    reference = Reference.fit(np.array([[1e300], [-1e300], [np.inf]]))
    assert np.abs(reference.fill(np.array([[1e308]]))[0]).max() <= LARGEST


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ModelError, match="nothing to learn"):
        Reference.fit(np.full((3, 2), np.nan))


def test_hostile_arrays_are_refused() -> None:
    good = Reference.fit(ROWS).to_arrays()
    assert Reference.from_arrays(dict(good), 3).median.tolist() == good["median"].tolist()
    for name in good:
        for bad in (good[name][:2], good[name].astype(np.float32), np.full(3, np.nan)):
            with pytest.raises(ModelError):
                Reference.from_arrays({**good, name: bad}, 3)
    with pytest.raises(ModelError):
        Reference.from_arrays({**good, "low": good["high"], "high": good["low"]}, 3)
    for name, bad in (("quantiles", good["quantiles"][:, ::-1]), ("rows", good["rows"] - 0.5), ("rows", -good["rows"])):
        with pytest.raises(ModelError):
            Reference.from_arrays({**good, name: bad}, 3)


def test_reasons_are_the_farthest_features_never_missing_ones() -> None:
    reference = Reference.fit(np.random.default_rng(1).normal(size=(1_000, 4)))
    row = np.array([[0.1, -9.0, np.nan, 5.0]])
    why = Explanations(row, reference, ["a", "b", "c", "d"], ["1"] * 4).reasons(0)
    assert [reason.feature for reason in why][:2] == ["b", "d"]
    assert not any(reason.feature == "c" for reason in why)
    assert why[0].deviation < 0 < why[1].deviation
    assert why[0].usual_low < 0 < why[0].usual_high
