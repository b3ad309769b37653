"""What training refuses, and what it must not."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skimstream.cli.gather import Gatherer
from skimstream.cli.labels import Labels
from skimstream.consumer.streams.behaviour import Behaviour
from skimstream.scoring.errors import ModelError
from skimstream.scoring.recipe import Examples, Recipe
from skimstream.scoring.refusals import (
    Finding,
    Rows,
    TrainingRefused,
    alone,
    fingerprints,
    id_like,
    identical_rows,
    label_derived,
    refuse,
)
from skimstream.scoring.split import given
from skimstream.scoring.study import study

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
SEED_FILES = SHARED / "data" / "behaviour"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
RNG = np.random.default_rng(11)


def keys(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    return np.array(numbers, np.uint64)


def records(*numbers: int) -> Rows:
    """Rows with features of their own and one entity each."""
    return Rows(keys(*numbers), RNG.integers(1, 2**63, len(numbers)).astype(np.uint64), keys(*numbers))


def test_one_identical_anomaly_is_too_many() -> None:
    train, test = records(*range(1000)), records(*range(999, 2000))  # one row of 1,001
    ordinary = np.zeros(1001, np.bool_)
    assert identical_rows(train, test) == identical_rows(train, test, ordinary) == []
    anomalous = ordinary.copy()
    anomalous[0] = True
    (finding,) = identical_rows(train, test, anomalous)
    assert "1 of 1,001 test rows are identical" in finding.problem
    assert "1 of the 1 anomalies" in finding.problem


def test_up_to_one_percent_of_ordinary_rows_may_recur() -> None:
    test = records(*range(1000))
    assert identical_rows(records(*range(10)), test) == []
    (finding,) = identical_rows(records(*range(11)), test)
    assert finding.name == "identical-rows"
    assert "11 of 1,000" in finding.problem


def test_copies_under_other_ids_are_known_by_their_features() -> None:
    train = Rows(keys(1, 2, 3), keys(10, 20, 20), keys(7, 8, 9))
    test = Rows(keys(4, 5, 6), keys(10, 20, 30), keys(1, 8, 1))
    (finding,) = identical_rows(train, test)  # the first, and the second, whose features entity 9 has, too
    assert "2 of 3 test rows have the features of another entity's" in finding.problem


def test_an_entity_may_look_as_it_did_before() -> None:
    train = Rows(keys(1, 2), keys(10, 20), keys(7, 8))
    assert identical_rows(train, Rows(keys(4, 5), keys(10, 20), keys(7, 8)), np.array([True, True])) == []
    nobody = Rows(keys(1, 2), keys(10, 20), keys(0, 0))
    assert identical_rows(nobody, nobody._replace(record=keys(3, 4))) != []


def test_a_tenth_of_the_anomalies_may_coincide_with_others_rows() -> None:
    train = Rows(keys(*range(2_000)), keys(*range(2_000)), keys(*[1] * 2_000))
    labels = np.arange(2_000) < 20
    for copied, refused in ((2, False), (3, True)):
        features = np.where(np.arange(2_000) < copied, np.arange(2_000), 10_000 + np.arange(2_000)).astype(np.uint64)
        test = Rows(keys(*range(5_000, 7_000)), features, keys(*[2] * 2_000))
        assert bool(identical_rows(train, test, labels)) is refused


def test_equal_rows_have_equal_fingerprints_and_no_others() -> None:
    matrix = RNG.normal(size=(2_000, 5)).round(1)
    matrix[RNG.random(matrix.shape) < 0.1] = np.nan
    matrix[0, 0], matrix[1] = -0.0, matrix[0]
    matrix[1, 0] = 0.0
    found = fingerprints(matrix.T, len(matrix))
    _, classes = np.unique(np.nan_to_num(matrix, nan=99.0) + 0.0, axis=0, return_inverse=True)
    assert len(np.unique(found)) == classes.max() + 1
    assert found[0] == found[1]
    swapped = fingerprints(matrix[:, ::-1].T, len(matrix))
    assert (found != swapped).mean() > 0.99


def test_id_like_features_are_named_and_measurements_are_not() -> None:
    n = 1_000
    columns = {
        "user_id": RNG.normal(size=n),
        "sourceId": RNG.normal(size=n),
        "serial": np.arange(n) * 7.0,
        "ordinal_code": RNG.permutation(n).astype(np.float64),
        "hash": RNG.integers(0, 2**52, n).astype(np.float64),
        "time": RNG.normal(size=n).cumsum(),
        "count": RNG.poisson(900, n).astype(np.float64),
        "bytes_sent": RNG.integers(0, 10_000_000, n).astype(np.float64),
        "flag": (np.arange(n) % 2).astype(np.float64),
        "constant": np.full(n, 3.0),
        "missing": np.full(n, np.nan),
        "humidity": RNG.normal(size=n),
    }
    found = id_like(tuple(columns), np.column_stack(list(columns.values())))
    assert [one.feature for one in found] == ["user_id", "sourceId", "serial", "ordinal_code", "hash"]


def test_a_column_made_from_the_label_is_named_with_its_figure() -> None:
    labels = RNG.random(2_000) < 0.05
    columns = {
        "anomaly_score": labels + RNG.normal(scale=0.28, size=2_000),
        "upside_down": -1.0 * labels,
        "null_if_normal": np.where(labels, RNG.normal(size=2_000), np.nan),
        "good_feature": labels + RNG.normal(scale=0.5, size=2_000),
        "rule_times": labels * 1.0,
    }
    found = label_derived(tuple(columns), np.column_stack(list(columns.values())), labels)
    assert [one.feature for one in found] == ["anomaly_score", "upside_down", "null_if_normal"]
    figure = re.search(r"AUC of (0\.99\d\d)", found[0].problem)
    assert figure
    assert float(figure[1]) == pytest.approx(roc_auc_score(labels, columns["anomaly_score"]), abs=1e-4)
    assert alone(columns["good_feature"], labels) < 0.99


def test_few_anomalies_on_top_of_a_column_are_chance() -> None:
    labels = np.arange(1_000) < 4
    assert label_derived(("x",), -np.arange(1_000.0)[:, None], labels) == []


def test_overrides_are_by_name_and_all_others_stand() -> None:
    findings = [Finding("id-like", "p", "a"), Finding("id-like", "p", "b"), Finding("identical-rows", "p")]
    assert refuse([], ()) == ()
    assert len(refuse(findings, ["id-like", "identical-rows"])) == 3
    with pytest.raises(TrainingRefused, match=r"b p; p; .*--allow id-like:b --allow identical-rows") as refused:
        refuse(findings, ["id-like:a"])
    assert [one.name for one in refused.value.findings] == ["id-like:b", "identical-rows"]
    with pytest.raises(ModelError, match="no refusal"):
        refuse([], ["everything"])


def gathered(train: Path, *test: Path) -> tuple[Examples, int]:
    gatherer = Gatherer(Behaviour(), Labels(column="label"))
    list(gatherer.files([train]))
    rows = gatherer.mark()
    list(gatherer.files(test))
    return gatherer.examples(), rows


@needs_shared
@pytest.mark.parametrize(
    ("train", "test", "recurring"),
    [
        ("seed001_train_40pct_relabelled.csv", "seed001_test_4pct.csv", "5,000 of 5,000 test rows .* 200 of the 200"),
        (
            "seed001_multifeature_40pct.csv",
            "seed001_multifeature_5pct.csv",
            "3,257 of 5,000 test rows .* 250 of the 250",
        ),
    ],
)
def test_the_published_evaluations_are_refused(train: str, test: str, recurring: str) -> None:
    examples, rows = gathered(SEED_FILES / train, SEED_FILES / test)
    with pytest.raises(TrainingRefused, match=recurring) as refused:
        study(examples, given(examples.entity, rows), Recipe())
    assert [one.refusal for one in refused.value.findings] == ["identical-rows"]


@needs_shared
def test_what_happens_in_the_test_changes_no_bit_of_a_training_row() -> None:
    """Encoders can't be fitted on test: features come from what was before, fills and bounds from training rows."""
    file = SEED_FILES / "seed001_multifeature_5pct.csv"
    alone_, _ = gathered(file)
    followed, rows = gathered(file, SEED_FILES / "seed001_test_4pct.csv")
    assert rows == len(alone_.matrix) == 5_000
    assert followed.matrix[:rows].tobytes() == alone_.matrix.tobytes()
    assert np.array_equal(followed.record[:rows], alone_.record)
