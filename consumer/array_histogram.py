"""A histogram that takes a whole array at once; prometheus_client's own takes one value a call."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Floats = NDArray[np.float64]


class ArrayHistogram(Collector):
    """Counts of values by labels and bucket. Scraped while it counts: each label's state is replaced whole."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], buckets: Iterable[float], registry: CollectorRegistry
    ) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self.bounds = np.array([*buckets, np.inf])
        self.counts: dict[tuple[str, ...], tuple[NDArray[np.int64], float]] = {}
        registry.register(self)

    def observe(self, values: Floats, *labels: str) -> None:
        """Count float64[n]; NaN is left out."""
        values = values[~np.isnan(values)]
        counts, total = self.counts.get(labels, (np.zeros(len(self.bounds), np.int64), 0.0))
        places = np.searchsorted(self.bounds, values, side="left")
        added = np.bincount(places, minlength=len(self.bounds))
        self.counts[labels] = (counts + added, total + float(values.sum()))

    def collect(self) -> Iterator[Metric]:
        """The exposition of all that was counted."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, (counts, total) in list(self.counts.items()):
            cumulated = np.cumsum(counts).tolist()
            bounds = [*(str(float(bound)) for bound in self.bounds[:-1]), "+Inf"]
            family.add_metric(labels, list(zip(bounds, cumulated, strict=True)), sum_value=total)
        yield family
