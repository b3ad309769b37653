"""What became of every message."""

from dataclasses import dataclass, field

import numpy as np

from ..scoring.ensemble import Scores
from .metrics import Metrics
from .partition import Featured
from .work import Work


@dataclass
class Tally:
    """consumed = scored + all unscored + all dead."""

    consumed: int = 0
    scored: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)

    def add(self, group: dict[str, int], reason: str, count: int = 1) -> None:
        """Count `count` more of one reason."""
        if count:
            group[reason] = group.get(reason, 0) + count


def account(work: Work, featured: Featured, scores: Scores, tally: Tally, metrics: Metrics) -> None:
    """Add a committed batch to the tally and the metrics."""
    stream, batch = metrics.stream, work.batch
    consumed, warming = len(batch.values), int(np.isnan(scores.score).sum())
    tally.consumed += consumed
    tally.scored += len(scores.score) - warming
    metrics.consumed.labels(stream).inc(consumed)
    metrics.scored.labels(stream).inc(len(scores.score) - warming)
    for reason, count in {**featured.unscored, "warming": warming}.items():
        if count:
            tally.add(tally.unscored, reason, count)
            metrics.unscored.labels(stream, reason).inc(count)
    for _, error in work.dead:
        tally.add(tally.dead, error.reason)
        metrics.rejected.labels(stream, error.reason).inc()
    if work.dead:
        metrics.dead.labels(stream, "delivered").inc(len(work.dead))
    metrics.consumed_bytes.labels(stream).inc(sum(map(len, filter(None, batch.values))))
    metrics.batch.observe(consumed)
    metrics.observe_scores(scores)
