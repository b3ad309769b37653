"""Fink's own forests can't be shipped: name a fink-science wheel, or a folder, in SKIM_FINK_WHEEL to compare scores."""

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skimstream.cli.fink_files import FinkFiles, read_fink_files
from skimstream.scoring.band_forests import BandForests, Regime
from skimstream.scoring.errors import ModelError
from skimstream.scoring.features.lightcurve import FEATURES
from skimstream.scoring.fink import FEATURES_18, FEATURES_25, band_forests, find_order
from skimstream.scoring.forest import Forest
from skimstream.scoring.onnx_forest import read_onnx
from stage.onnx_trees import Ranges, Tree, evaluate, forest, to_bytes

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
GOLDEN = SHARED / "data" / "fink" / "fink_ztf_golden_dev.jsonl.gz"
WHEEL = os.environ.get("SKIM_FINK_WHEEL", "")
COLUMNS = tuple(f"{band}_{name}" for band in "gr" for name in FEATURES)
SORTED_25 = tuple(sorted(FEATURES_25))

Floats = np.ndarray[Any, np.dtype[np.float64]]


def ranges(names: tuple[str, ...]) -> Ranges:
    """Where thresholds of these features lie in Fink's forests, roughly."""
    wide = {"chi2": (0.0, 2000.0), "linear_fit_reduced_chi2": (0.0, 2000.0), "maximum_slope": (0.0, 3000.0)}
    magnitudes = {name: (12.0, 22.0) for name in ("mean", "median", "weighted_mean")}
    return [(wide | magnitudes | {"kurtosis": (-5.0, 20.0)}).get(name, (0.0, 1.5)) for name in names]


def trained_on(names: tuple[str, ...], seed: int) -> tuple[Sequence[Tree], Forest]:
    trees = forest(seed, ranges(names), trees=60, depth=7)
    return trees, read_onnx(to_bytes(trees, len(names)), "a")


def test_the_lists_are_finks() -> None:
    assert FEATURES_18 == tuple(sorted(FEATURES_18))
    assert set(FEATURES_25) == set(FEATURES) - {"mean_variance"}
    assert len(set(FEATURES_25)) == 25


def test_the_thresholds_tell_the_order() -> None:
    was_sorted = find_order(trained_on(SORTED_25, 1)[1])
    assert (was_sorted.trained, was_sorted.fed, was_sorted.magnitudes) == (SORTED_25, FEATURES_25, (16, 17, 24))
    assert was_sorted.misfed == 19
    assert "sorted by name" in str(was_sorted)
    assert "19 inputs get another feature" in str(was_sorted)
    as_fed = find_order(trained_on(FEATURES_25, 2)[1])
    assert (as_fed.trained, as_fed.magnitudes, as_fed.misfed) == (FEATURES_25, (13, 23, 24), 0)
    eighteen = find_order(trained_on(FEATURES_18, 3)[1])
    assert (eighteen.trained, eighteen.magnitudes, eighteen.misfed) == (FEATURES_18, (13,), 0)


def test_an_order_that_does_not_show_is_not_guessed() -> None:
    strange = {name: trained_on(tuple(reversed(SORTED_25)), seed)[1] for name, seed in (("g", 1), ("r", 2))}
    order = find_order(strange["g"])
    assert order.trained is None
    assert "no order that is known" in str(order)
    band_forests(strange, {}, COLUMNS, "C")
    with pytest.raises(ModelError, match="without aligned"):
        band_forests(strange, {}, COLUMNS, "C", aligned=True)


def test_a_forest_of_another_width_is_refused() -> None:
    with pytest.raises(ModelError, match="has 3 inputs; Fink's have 18 or 25"):
        find_order(trained_on(FEATURES_18[:3], 1)[1])


@pytest.mark.parametrize("aligned", [False, True])
def test_regime_c_the_minimum_over_complete_bands_swapped_in_either_order(aligned: bool) -> None:
    pairs = {name: trained_on(SORTED_25, seed) for name, seed in (("g", 1), ("r", 2))}
    forests = band_forests({name: pair[1] for name, pair in pairs.items()}, {}, COLUMNS, "C", aligned)
    low, high = np.array(ranges(COLUMNS[:26] * 2)).T
    rng = np.random.default_rng(0)
    X = rng.uniform(low, high, (200, 52))
    X[rng.random(X.shape) < 0.01] = np.nan
    order = SORTED_25 if aligned else FEATURES_25
    expected = []
    for row in X:
        values = dict(zip(COLUMNS, row, strict=True))
        scores = []
        for band, other in (("g", "r"), ("r", "g")):  # band g's features go to the forest called r
            cells = np.array([values[f"{band}_{name}"] for name in order])
            if not np.isnan(cells).any():
                scores.append(evaluate(pairs[other][0], cells))
        expected.append(min(scores, default=np.nan))
    assert 0 < np.isnan(expected).sum() < 100
    np.testing.assert_array_equal(forests.score_samples(X), expected)


# ---- with Fink's own forests

needs_fink = pytest.mark.skipif(
    not (WHEEL and Path(WHEEL).exists() and GOLDEN.exists()),
    reason="needs ../shared and SKIM_FINK_WHEEL, the path of a fink-science 7.4.0 wheel",
)
# The release of fink-science that wrote a golden row tells the regime. Rows before 8 come from forests of their time.
RELEASES: dict[Regime, tuple[str, ...]] = {"A": ("8.6.", "8.14.", "8.15."), "B": ("8.21.", "8.22.")}
CASES = [(regime, user) for regime in RELEASES for user in ("", "beta")]


def golden(regime: Regime) -> list[dict[str, Any]]:
    with gzip.open(GOLDEN, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["fink_science_version"].startswith(RELEASES[regime])]


def matrix(rows: list[dict[str, Any]]) -> Floats:
    """float64[n, 52] of the stored features, null = NaN."""
    empty = [None] * len(FEATURES)
    return np.array(
        [(row["lc_features_g"] or empty) + (row["lc_features_r"] or empty) for row in rows], dtype=np.float64
    )


def present(rows: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([[fid in row["lc"]["fid"] for fid in (1, 2)] for row in rows])


def stored(rows: list[dict[str, Any]], user: str) -> Floats:
    name = f"anomaly_score_{user}" if user else "anomaly_score"
    return np.array([row[name] for row in rows], np.float64)


def theirs(user: str) -> tuple[dict[str, Forest], FinkFiles]:
    files = read_fink_files(Path(WHEEL), user)
    return {name: read_onnx(data, name) for name, data in files.forests.items()}, files


@needs_fink
@pytest.mark.parametrize(("regime", "user"), CASES)
def test_published_scores_are_reproduced(regime: Regime, user: str) -> None:
    rows = golden(regime)
    forests, files = theirs(user)
    scores = band_forests(forests, files.means, COLUMNS, regime).score_samples(matrix(rows), present(rows))
    published = stored(rows, user)
    assert len(rows) >= 15
    np.testing.assert_array_equal(np.isnan(scores), published == 0.0)  # not scorable
    assert np.abs(np.nan_to_num(scores) - published).max() <= 1e-7  # 1e-6 would do; the next test stands on this
    order = np.argsort(published, kind="stable")
    assert (np.diff(np.nan_to_num(scores)[order]) >= -1e-7).all()


@needs_fink
@pytest.mark.parametrize(("regime", "user"), CASES)
def test_bands_that_are_not_swapped_match_no_score(regime: Regime, user: str) -> None:
    rows = golden(regime)
    forests, files = theirs(user)
    swapped = band_forests(
        {"g": forests["r"], "r": forests["g"]}, {"g": files.means["r"], "r": files.means["g"]}, COLUMNS, regime
    )
    scores, published = swapped.score_samples(matrix(rows), present(rows)), stored(rows, user)
    scored = published != 0.0
    assert np.abs(scores - published)[scored].min() > 1e-7  # swapped, the largest difference is 4e-8


@needs_fink
@pytest.mark.parametrize("user", ["", "beta"])
def test_their_order_shows(user: str) -> None:
    forests, files = theirs(user)
    for one in forests.values():
        assert find_order(one).trained == FEATURES_18
    X = matrix(golden("B"))
    fed, aligned = (band_forests(forests, files.means, COLUMNS, "B", aligned) for aligned in (False, True))
    np.testing.assert_array_equal(fed.score_samples(X), aligned.score_samples(X))
    assert isinstance(fed, BandForests)
