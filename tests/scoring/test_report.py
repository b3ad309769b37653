"""The report: complete, self-contained, harmless, and of the test alone."""

import csv
import io
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from skimstream.scoring.baselines import BASELINES
from skimstream.scoring.held_out import DETECTOR, FOREST, Contender
from skimstream.scoring.measure import FIGURES
from skimstream.scoring.recipe import Examples, Recipe
from skimstream.scoring.refusals import TrainingRefused
from skimstream.scoring.report import comparison_csv, report_html
from skimstream.scoring.split import SplitError, by_entity, by_time
from skimstream.scoring.study import OTHER_MODEL, Study, enough, study
from skimstream.scoring.train import Options

N = 2_400
HOSTILE = "<script>alert(1)</script>"


def examples() -> Examples:
    rng = np.random.default_rng(7)
    labels = rng.random(N) < 0.06
    matrix = rng.normal(size=(N, 4)) + labels[:, None] * np.array([2.0, 2.0, 0.0, 0.0])
    entity, record = np.arange(N, dtype=np.uint64) % 80 + 1, np.arange(N, dtype=np.uint64)
    return Examples("test", ("a", "b", "c", HOSTILE), ("1",) * 4, matrix, entity, record, labels)


RECIPE = Recipe(Options(trees=60), final="train", compare=True, resamples=60)


@cache
def done() -> Study:
    return study(examples(), by_time(examples().entity), RECIPE, {"source": [HOSTILE], "nights": []})


@cache
def contenders() -> dict[str, Contender]:
    measured = done().measured
    assert measured
    return {one.name: one for one in measured.contenders}


class Page(HTMLParser):
    """Notes what a page is made of, and that all of it is closed."""

    VOID = ("meta", "polyline", "rect", "circle")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_all_and_loads_and_runs_nothing() -> None:
    page = Page(report_html(done()))
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not {"src", "href", "onload", "onclick"} & set(page.attributes)
    assert page.tags.count("svg") == 3
    assert HOSTILE in page.text  # as text
    wanted = ["precision", "recall", "F1", "ROC AUC", "average precision", "false positive rate", "Thresholds"]
    for word in (*wanted, "Calibration", "Brier score", "called anomaly", *BASELINES, FOREST, DETECTOR):
        assert word in page.text, word
    assert "overridden" not in page.text
    counted, error = r"\d+ <small>\d+ to \d+</small>", r"0\.\d{4} <small>0\.\d{3} to 0\.\d{3}</small>"
    for row in (rf"anomaly</td><td>{counted}</td><td>{counted}", rf"share of votes</td><td>{error}</td><td>{error}"):
        assert re.search(row, report_html(done())), row


def test_figures_are_of_the_test_rows() -> None:
    labels, main = examples().labels, contenders()[FOREST]
    assert labels is not None
    truth = labels[by_time(examples().entity).test]
    expected = dict(zip(FIGURES, main.figures, strict=True))
    assert expected["roc_auc"] == pytest.approx(roc_auc_score(truth, main.scores))
    assert expected["average_precision"] == pytest.approx(average_precision_score(truth, main.scores))
    assert expected["recall"] == pytest.approx((main.scores > main.threshold)[truth].mean())
    assert f"{expected['roc_auc']:.4f}" in report_html(done())
    assert sum(main.confusion) == len(truth)
    known = np.isfinite(main.figures)
    assert (main.low[known] <= main.figures[known]).all()
    assert (main.figures[known] <= main.high[known]).all()
    manifest = done().model.metrics["test"]
    assert manifest["roc_auc"][0] == round(expected["roc_auc"], 6)
    assert manifest["of"] == "this model"


def test_the_baselines_are_what_they_are_called() -> None:
    found = contenders()
    assert list(found) == [FOREST, DETECTOR, *BASELINES]
    normal = dict(zip(FIGURES, found["all normal"].figures, strict=True))
    assert (normal["recall"], normal["roc_auc"], normal["false_positive_rate"]) == (0, 0.5, 0)
    assert found["best single feature"].detail in ("high a", "high b")
    for name in ("One-Class SVM", "Isolation Forest", "Random Forest", FOREST, DETECTOR):
        assert 0.65 < found[name].figures[FIGURES.index("roc_auc")] <= 1, name


def test_the_comparison_is_csv() -> None:
    measured = done().measured
    assert measured
    lines = list(csv.DictReader(io.StringIO(comparison_csv(measured))))
    assert [line["model"] for line in lines] == list(contenders())
    forest = lines[0]
    assert float(forest["recall_low"]) <= float(forest["recall"]) <= float(forest["recall_high"])
    counts = ["true_positives", "false_positives", "false_negatives", "true_negatives"]
    assert sum(int(forest[name]) for name in counts) == N // 4
    assert lines[2]["precision"] == ""  # all normal raises no alarm


def test_the_test_rows_reach_neither_the_model_nor_its_threshold() -> None:
    changed = examples()
    test = by_time(changed.entity).test
    changed.matrix[test] = changed.matrix[test][::-1] * 3 + 100
    other = study(changed, by_time(changed.entity), replace(RECIPE, compare=False))
    assert other.model.id == done().model.id
    assert other.measured
    assert [one.threshold for one in other.measured.contenders] == [
        contenders()[n].threshold for n in (FOREST, DETECTOR)
    ]
    assert other.measured.contenders[0].figures[0] != contenders()[FOREST].figures[0]


def test_what_is_kept_may_have_learned_everything_and_says_so() -> None:
    kept = study(examples(), by_time(examples().entity), replace(RECIPE, final="all", compare=False))
    assert (kept.model.training["rows"], done().model.training["rows"]) == (N, 3 * N // 4)
    assert kept.model.metrics["test"]["of"] == OTHER_MODEL
    assert kept.model.metrics["test"]["roc_auc"] == done().model.metrics["test"]["roc_auc"]
    assert kept.model.id != done().model.id


def test_an_override_stands_in_manifest_and_report() -> None:
    leaking = examples()
    assert leaking.labels is not None
    leaking.matrix[:, 2] = leaking.labels
    with pytest.raises(TrainingRefused, match=r"c alone reaches an AUC of 1\.0000"):
        study(leaking, None, RECIPE)
    found = study(leaking, None, replace(RECIPE, allow=frozenset({"label-derived:c"})))
    assert list(found.model.training["overridden"]) == ["label-derived:c"]
    page = Page(report_html(found)).text
    assert "overridden" in page
    assert "alone reaches an AUC of 1.0000" in page
    assert "nothing was measured" in page


def test_without_labels_only_alarms_are_counted() -> None:
    found = study(replace(examples(), labels=None), by_entity(examples().entity), replace(RECIPE, forest="isolation"))
    page = Page(report_html(found)).text
    assert "no labels" in page
    assert "realised share" in page
    assert "recall" not in page
    assert set(found.model.metrics["test"]["alarms_above"]) == {"0.99", "0.999"}


def test_an_isolation_forest_may_be_judged_by_labels_that_it_never_sees() -> None:
    judged = study(examples(), by_time(examples().entity), replace(RECIPE, forest="isolation", compare=False))
    blind = study(replace(examples(), labels=None), by_time(examples().entity), replace(RECIPE, forest="isolation"))
    assert judged.model.id == blind.model.id
    assert judged.measured
    assert judged.measured.decides_on == "score"
    assert "percentile, not a probability" in report_html(judged)


def test_a_calibrated_probability_is_shown_where_there_is_one() -> None:
    measured = done().measured
    assert measured
    assert measured.votes is not None
    assert measured.probability is not None, "training calibrates votes, where there are labels enough"
    assert "calibrated probability" in report_html(done())
    bare = replace(done(), measured=replace(measured, probability=None))
    assert "calibrated probability" not in report_html(bare)


def test_anomalies_that_all_come_late_teach_nothing() -> None:
    late = examples()
    assert late.labels is not None
    late.labels[: N // 2] = late.labels[N // 2 : 9 * N // 16] = False
    with pytest.raises(SplitError, match=r"of \d+ anomalies in 2,400 rows 0 are among the 1,350 rows to fit"):
        study(late, by_time(late.entity), RECIPE)


def test_enough_rows_are_those_that_a_model_can_be_fitted_to() -> None:
    assert enough(examples(), by_time(examples().entity))
    assert not enough(examples(), by_time(examples().entity, 0.5))
