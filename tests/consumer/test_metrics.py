from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from skimstream.consumer.metrics import SCORE_BUCKETS, ArrayHistogram, Metrics
from skimstream.scoring.ensemble import Scores

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
