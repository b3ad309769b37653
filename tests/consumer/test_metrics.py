from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from skimstream.consumer.address import Address
from skimstream.consumer.array_histogram import ArrayHistogram
from skimstream.consumer.metrics import SCORE_BUCKETS, Metrics
from skimstream.scoring.ensemble import Scores
from skimstream.scoring.prepare import Reference

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_every_metric_is_in_the_docs() -> None:
    registry = CollectorRegistry()
    Metrics(registry, "ztf", ("gated",))
    text = DOCS.read_text()
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}`" in text, name


def test_failures_that_have_not_happened_are_zeros() -> None:
    registry = CollectorRegistry()
    Metrics(registry, "ztf", ("gated",))
    text = generate_latest(registry).decode()
    assert 'skim_rejected_messages_total{reason="decode",stream="ztf"} 0.0' in text
    assert 'skim_unscored_messages_total{reason="gated",stream="ztf"} 0.0' in text


def test_an_array_histogram_exposes_what_prometheus_expects() -> None:
    registry = CollectorRegistry()
    histogram = ArrayHistogram("x", "help", ("who",), (0.1, 0.5), registry)
    histogram.observe(np.array([0.05, 0.1, 0.3, 9.0, np.nan]), "me")
    histogram.observe(np.array([]), "me")
    assert generate_latest(registry).decode() == (
        "# HELP x help\n# TYPE x histogram\n"
        'x_bucket{le="0.1",who="me"} 2.0\nx_bucket{le="0.5",who="me"} 3.0\nx_bucket{le="+Inf",who="me"} 4.0\n'
        'x_count{who="me"} 4.0\nx_sum{who="me"} 9.45\n'
    )


def test_each_anomaly_counts_under_its_highest_severity() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, "ztf", ())
    alarms = np.array([[False, False], [True, False], [True, True], [True, False], [False, True], [False, False]])
    nothing, silent = np.zeros((6, 2)), np.zeros((6, 1), np.bool_)
    score = np.array([0.5] * 5 + [np.nan])
    metrics.observe_scores(Scores(score, nothing[:, 0], nothing, nothing, silent, alarms=alarms))

    def count(severity: str) -> float | None:
        return registry.get_sample_value("skim_anomalies_total", {"stream": "ztf", "severity": severity})

    assert (count("notable"), count("high")) == (2.0, 2.0)
    assert SCORE_BUCKETS[-1] == 1.0


def test_partitions_that_went_are_told_no_more() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, "ztf", ())

    def lag(partition: str) -> float | None:
        return registry.get_sample_value(
            "skim_consumer_lag_messages", {"stream": "ztf", "topic": "t", "partition": partition}
        )

    metrics.observe_lag({Address("t", 0): 5, Address("t", 1): 7}, 3.0)
    assert (lag("0"), lag("1")) == (5.0, 7.0)
    metrics.observe_lag({Address("t", 1): 0, Address("t", 2): 2}, 0.0)
    assert (lag("0"), lag("1"), lag("2")) == (None, 0.0, 2.0)


def test_parts_and_drift_are_told_by_name() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, "ztf", ())
    z = np.array([[0.5, np.nan], [4.5, np.nan]])
    nothing = np.zeros(2)
    metrics.observe_parts(Scores(nothing, nothing, z, z, np.zeros((2, 1), np.bool_)), ("frozen", "online"))

    def below(part: str, bound: str) -> float | None:
        return registry.get_sample_value("skim_part_z_bucket", {"stream": "ztf", "part": part, "le": bound})

    assert (below("frozen", "1.0"), below("frozen", "8.0"), below("online", "+Inf")) == (1.0, 2.0, 0.0)

    def drift(feature: str) -> float | None:
        return registry.get_sample_value("skim_feature_drift", {"stream": "ztf", "feature": feature})

    rows = np.random.default_rng(1).normal(size=(2_000, 2))
    metrics.observe_features(rows[:100], Reference.fit(rows), 1.0)
    metrics.report_drift(("a", "b"))
    assert (drift("a"), drift("b")) == (None, None)  # too few to tell
    metrics.observe_features(rows + np.array([0.0, 9.0]), Reference.fit(rows), 2.0)  # another model: all begins anew
    metrics.report_drift(("a", "b"))
    assert (drift("a") or 1.0) < 0.02
    assert (drift("b") or 0.0) > 3
