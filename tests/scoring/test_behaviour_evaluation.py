"""A short version of `make evaluate-behaviour`, and the leaks that it refuses."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from skimstream.scoring.features.behaviour import FEATURES, SESSION
from skimstream.scoring.train import Options

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT.parent / "shared" / "data" / "behaviour"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluate_behaviour", ROOT / "benchmarks" / "evaluate_behaviour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


evaluate = load()


@pytest.fixture(scope="module")
def past() -> Any:
    return evaluate.simulated(1, 8_000)


@pytest.fixture(scope="module")
def tests() -> list[Any]:
    return [evaluate.simulated(seed, 5_000) for seed in (12, 13, 14)]


def test_labels_find_most_of_what_can_be_found(
    past: Any, tests: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "SUPERVISED", Options(trees=50, tuned={"min_samples_leaf": 10}))
    table = evaluate.supervised(past, evaluate.simulated(11, 5_000), tests)
    mean = {name: one["mean"] for name, one in table.items() if "mean" in one}
    assert 0.985 < mean["auc"] < 0.999
    assert mean["ap"] > 0.93
    assert mean["recall_at_fpr_1%"] > 0.88
    assert mean["precise_precision"] > 0.85
    assert mean["precise_recall"] > 0.86
    assert mean["precision_at_recall_0.955"] > 0.3
    by_kind = {name: one["mean"] for name, one in table["by_kind"].items()}
    # One odd hour in four is like any other session of the night.
    assert by_kind.pop("odd hour") < 0.99 < min(by_kind.values())
    assert table["calibration"]["calibrated_brier"] < 0.009
    assert table["calibration"]["calibrated_ece"] < 0.004
    assert "AUC by kind" in capsys.readouterr().out


def test_without_labels_too(past: Any, tests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "LABEL_FREE", Options(trees=100, samples=1_024))
    table = evaluate.label_free(past, tests)
    for one in (table, table["whole"]):
        assert 0.915 < one["auc"]["mean"] < 0.98
        assert one["ap"]["mean"] > 0.76


def test_rows_that_were_trained_on_are_refused(past: Any, tests: list[Any]) -> None:
    evaluate.guard(past.matrix, tests[0].matrix, FEATURES)
    mixed = tests[0].matrix.copy()
    mixed[7] = past.matrix[100]
    with pytest.raises(evaluate.Leak, match="1 of 5000 rows"):
        evaluate.guard(past.matrix, mixed, FEATURES)


@pytest.mark.parametrize("name", ["user_id", "session_id", "transaction_date", "label"])
def test_an_id_or_the_answer_as_a_feature_is_refused(past: Any, tests: list[Any], name: str) -> None:
    with pytest.raises(evaluate.Leak, match=f"^{name}: names of rows"):
        evaluate.guard(past.matrix, tests[0].matrix, [*FEATURES[1:], name])


def test_figures_are_what_they_are_called() -> None:
    labels = np.array([True, True, False, True, False, False, False, False])
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.1])
    found = evaluate.ranking(score, labels)
    assert found["recall_at_fpr_1%"] == 2 / 3
    assert found["precision_at_recall_0.955"] == 3 / 4
    assert found["auc"] == pytest.approx(14 / 15)
    assert evaluate.ranking(np.ones(8), labels)["recall_at_fpr_1%"] == 0
    assert evaluate.threshold_for(0.5, score, labels) == 0.8
    assert evaluate.alarms("a", 0.6, score, labels) == {"a_precision": 0.75, "a_recall": 1.0}


@pytest.mark.skipif(not FILES.is_dir(), reason="needs ../shared")
def test_the_published_figures_are_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(evaluate, "TREES", 20)
    figures = evaluate.published(FILES)
    assert figures["shared_rows"] == 5_000
    assert figures["ceiling_auc"] == 0.8125
    assert figures["published_protocol_auc"] > 0.72
    assert figures["second_shared_rows"] == 3_257
    for name in ("out_of_fold_auc", "out_of_fold_relabelled_auc"):
        assert 0.44 < figures[name] < 0.56  # 0.5 give or take three standard errors
    assert figures["second_out_of_fold"]["auc"] > 0.96
    assert "AUC .802" in capsys.readouterr().out
    relabelled, test = (
        evaluate.Published.read(FILES / f"seed001_{name}.csv") for name in ("train_40pct_relabelled", "test_4pct")
    )
    with pytest.raises(evaluate.Leak, match="5000 of 5000"):
        evaluate.guard(relabelled.matrix[:, SESSION], test.matrix[:, SESSION], [FEATURES[c] for c in SESSION])
