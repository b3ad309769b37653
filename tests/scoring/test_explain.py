"""Reasons: true claims, a documented order, the same whatever stands beside a row and however a batch is cut."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skimstream.scoring.explain import Explanations, weigh
from skimstream.scoring.model import Model
from skimstream.scoring.prepare import LEVELS, Reference
from skimstream.scoring.train import Options, train

Floats = NDArray[np.float64]
NAMES, UNITS = ("amplitude", "rule_times", "count", "flag"), ("mag", "1", "count", "0 or 1")


def rows(n: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    columns = [rng.normal(size=n), np.zeros(n), rng.poisson(2.0, n), rng.random(n) < 0.01]
    return np.ascontiguousarray(np.array(columns, np.float64).T)


@pytest.fixture(scope="module")
def model() -> Model:
    return train("test", NAMES, UNITS, rows(1_500), options=Options(trees=10))


def explained(model: Model, matrix: Floats, parts: Mapping[str, Floats] | None = None) -> Explanations:
    return Explanations(matrix, model.reference, model.features, model.units, "objects", parts)


@settings(deadline=None)
@given(
    st.lists(st.integers(-5, 5) | st.floats(-6, 6), min_size=1, max_size=300),
    st.lists(st.floats(-8, 8) | st.integers(-5, 5), min_size=1, max_size=20),
)
def test_a_percentile_never_claims_more_than_training_supports(training: list[float], values: list[float]) -> None:
    seen = np.array(training, np.float64)
    matrix = np.array([*values, *training], np.float64).reshape(-1, 1)
    found = Reference.fit(seen.reshape(-1, 1)).percentile(matrix)[:, 0]
    for value, percentile in zip(matrix[:, 0], found, strict=True):
        below, above = (seen < value).mean(), (seen > value).mean()
        if percentile > 0.5:
            assert below >= percentile - 1e-6
        if percentile < 0.5:
            assert above >= 1 - percentile - 1e-6
        # Nor much less: a level finer than what is claimed would be false.
        finer = LEVELS[LEVELS > percentile].min(initial=1.0)
        assert percentile < 0.5 or below <= finer + 1e-6 or finer == 1.0
        assert (percentile == 1) == (value > seen.max())
        assert (percentile == 0) == (value < seen.min())


def test_tails_are_as_fine_as_the_rows_allow() -> None:
    reference = Reference.fit(np.arange(20_000.0).reshape(-1, 1))
    found = reference.percentile(np.array([[19_998.5], [19_961.0], [10_000.0], [39.5], [np.nan]]))[:, 0]
    assert found[:4].tolist() == pytest.approx([0.9999, 0.998, 0.5, 0.002])
    assert np.isnan(found[4])
    few = Reference.fit(np.arange(20.0).reshape(-1, 1))
    assert few.percentile(np.array([[18.5]]))[0, 0] == pytest.approx(0.95)


def test_reasons_in_words(model: Model) -> None:
    matrix = np.array([[9.0, 0, 2, 0], [0.01, 0, 2, 1], [0.01, 1, 2, 0], [-9.0, np.nan, 2, np.nan]])
    why = explained(model, matrix)
    said = [[str(reason) for reason in why.reasons(row)] for row in range(4)]
    assert said[0][0] == "amplitude 9 mag: above all 1,500 seen in training"
    assert said[1][0].startswith("flag 1: above 9")
    assert said[1][0].endswith("% of objects")
    assert said[2][0] == "rule_times: it ends before it begins"
    assert said[3][0] == "amplitude -9 mag: below all 1,500 seen in training"
    assert not any("usual" in reason or "rule" in reason for row in (0, 3) for reason in said[row][:1])


def test_a_feature_that_training_never_saw_is_said_to_be_so() -> None:
    reference = Reference.fit(np.array([[1.0, np.nan], [2.0, np.nan]]))
    why = Explanations(np.array([[1.5, 3.0]]), reference, ["a", "b"], ["1", "1"], "events", {"frozen": np.ones((1, 2))})
    assert "b 3: never seen in training" in map(str, why.reasons(0))
    assert why.table(0)["percentile"].count(None) == 1


def test_the_weight_is_rarity_and_half_of_what_the_speaking_parts_say() -> None:
    rarity = np.array([[2.0, 1.0, 0.0, np.nan]] * 3)  # of the first, no part says anything: it counts half
    silent = [np.nan] * 4
    frozen = np.array([[0.0, 2.0, -2.0, 0.0], [0.0, 2.0, -2.0, 0.0], silent])
    online = np.array([[0.0, 4.0, 0.0, 0.0], silent, silent])
    shares, found = weigh(rarity, np.array([frozen, online]))
    np.testing.assert_array_equal(shares[0], [[0.0, 0.5, -0.5, 0.0]] * 2 + [silent])
    np.testing.assert_array_equal(shares[1], [[0.0, 1.0, 0.0, 0.0], silent, silent])
    assert found[0].tolist() == [0.5, 0.5 + 0.5, 0.5 * -0.25 / 0.75, 0.0]
    assert found[1].tolist() == [0.5, 0.5 + 0.5, -0.5, 0.0]
    assert found[2].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert weigh(rarity, np.empty((0, 3, 4)))[1].tolist() == [[1.0, 0.5, 0.0, 0.0]] * 3


def test_what_is_missing_is_never_a_reason_and_broken_rules_come_first(model: Model) -> None:
    matrix = np.array([[np.nan, 1.0, 99.0, np.nan]])
    why = explained(model, matrix, {"frozen": np.array([[50.0, -1.0, 1.0, 9.0]])})
    assert [reason.feature for reason in why.reasons(0)] == ["rule_times", "count"]
    assert why.table(0)["feature"] == ["rule_times", "count"]
    assert explained(model, np.full((1, 4), np.nan)).reasons(0) == []


def test_hostile_values_give_numbers(model: Model) -> None:
    matrix = np.array([[1e308, -np.inf, -1e308, 5e-324], [np.inf, np.nan, 1e300, 0]])
    why = explained(model, matrix, {"frozen": model.forest.contributions(model.reference.fill(matrix)[0])})
    for row in range(2):
        text = json.dumps([[one.to_json() for one in why.reasons(row)], why.table(row)], allow_nan=False)
        assert "above all" in text


def everything(why: Explanations, row: int) -> Any:
    return [reason.to_json() for reason in why.reasons(row)], why.table(row)


@pytest.mark.parametrize("size", [1, 7, 100, 251])
def test_reasons_do_not_depend_on_how_batches_are_cut(model: Model, size: int) -> None:
    matrix = rows(700, 5)
    matrix[::9, 0] *= 5
    matrix[::13, 1] = 1  # broken: scored beside the parts
    matrix[::17, 2] = np.nan
    chosen = np.sort(np.random.default_rng(1).choice(700, 120, replace=False))
    whole = model.ensemble()
    together = explained(model, matrix[chosen], whole.contributions(matrix, whole.score_learn(matrix), chosen))
    ensemble, found = model.ensemble(), []
    for at in range(0, len(matrix), size):
        batch = matrix[at : at + size]
        scores = ensemble.score_learn(batch)
        for row in chosen[(chosen >= at) & (chosen < at + size)] - at:  # each by itself
            alone = np.array([row])
            found.append(everything(explained(model, batch[alone], ensemble.contributions(batch, scores, alone)), 0))
    assert found == [everything(together, row) for row in range(len(chosen))]
    silent = [one["contributions"]["online"][0] is None for _, one in found]
    assert silent == [matrix[row, 1] > 0 for row in chosen.tolist()]


def test_the_parts_see_what_was_done(model: Model) -> None:
    matrix = rows(600, 6)
    matrix[500, 0] = 8.0
    ensemble, chosen = model.ensemble(), np.array([500])
    parts = ensemble.contributions(matrix, ensemble.score_learn(matrix), chosen)
    assert {part: int(np.argmax(found[0])) for part, found in parts.items()} == dict.fromkeys(model.parts, 0)
    first = explained(model, matrix[chosen], parts).reasons(0)[0]
    assert first.feature == "amplitude"
    assert all(share is not None and share > 0.2 for share in first.contributions.values())
