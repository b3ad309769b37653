"""What one writes by hand: fastavro, River, scikit-learn, redis-py. Shared by `naive` and `batched`.

Features are the numbers of the event, and of alerts the 26 light-curve features a band; fewer than Skimstream's, which
knows each user's past. No dead letters, no checkpoints, no reasons.
"""

import io
import json
import math
from datetime import UTC, datetime
from typing import Any

import fastavro
import light_curve as lc
import numpy as np
import redis
from confluent_kafka import Message
from river import anomaly
from sklearn.ensemble import IsolationForest

from skimstream.consumer.streams.registry import stream_of
from skimstream.scoring.features.behaviour import NUMBERS
from whole.spec import Spec

KEPT, TREES, HEIGHT, WINDOW = 1_000, 25, 8, 250  # as Skimstream's defaults
# Bands, and the names of a point's band, time, brightness and its error.
NAMES: dict[str, tuple[tuple[int | str, ...], tuple[str, str, str, str]]] = {
    "ztf": ((1, 2), ("fid", "jd", "magpsf", "sigmapsf")),
    "lsst": (tuple("ugrizY"), ("filterName", "midPointTai", "psFlux", "psFluxErr")),
}
EXTRACTOR = lc.Extractor(
    *(lc.Mean(), lc.WeightedMean(), lc.StandardDeviation(), lc.Median(), lc.Amplitude(), lc.BeyondNStd(1.0)),
    *(lc.Cusum(), lc.InterPercentileRange(0.1), lc.Kurtosis(), lc.LinearTrend(), lc.LinearFit()),
    *(lc.MagnitudePercentageRatio(0.4, 0.05), lc.MagnitudePercentageRatio(0.2, 0.1), lc.MaximumSlope()),
    *(lc.MedianAbsoluteDeviation(), lc.MedianBufferRangePercentage(0.1), lc.PercentAmplitude(), lc.MeanVariance()),
    *(lc.AndersonDarlingNormal(), lc.ReducedChi2(), lc.Skew(), lc.StetsonK()),
)


class Hand:
    """Decodes, and makes features; the forest learns from the first messages."""

    def __init__(self, spec: Spec, first: list[Message]) -> None:
        schema = stream_of(spec.stream).schema()
        self.schema = fastavro.parse_schema(dict(schema)) if schema else None
        self.store, self.stream = redis.Redis.from_url(spec.redis), spec.stream
        rows = [self.features(self.decode(one.value() or b"")) for one in first]
        matrix = np.array([list(row.values()) for row in rows])
        self.forest = IsolationForest(n_estimators=100, random_state=0, n_jobs=1).fit(matrix)
        self.trees: Any = anomaly.HalfSpaceTrees(
            n_trees=TREES,
            height=HEIGHT,
            window_size=WINDOW,
            limits={name: (min(row[name] for row in rows), max(row[name] for row in rows) + 1e-9) for name in rows[0]},
            seed=0,
        )

    @classmethod
    def reading(cls, stream: str) -> "Hand":
        """One that decodes and makes features, and has no models."""
        hand, schema = cls.__new__(cls), stream_of(stream).schema()
        hand.schema, hand.stream = fastavro.parse_schema(dict(schema)) if schema else None, stream
        return hand

    def decode(self, value: bytes) -> dict[str, Any]:
        """One record."""
        read: Any = (
            next(fastavro.reader(io.BytesIO(value)))
            if self.schema is None
            else fastavro.schemaless_reader(io.BytesIO(value), self.schema, None)
        )
        return dict(read)

    def features(self, record: dict[str, Any]) -> dict[str, float]:
        """By name, without gaps."""
        if self.stream == "behaviour":
            return {name: float(record[name] or 0.0) for name in NUMBERS}
        found: dict[str, float] = {}
        for band, seen in self.curves(record).items():
            values = [0.0] * len(EXTRACTOR.names)
            if len(seen) > 4:
                t, m, sigma = np.array(seen, np.float64).T.copy()
                values = EXTRACTOR(t, m, sigma, sorted=True, check=False, fill_value=0.0).tolist()
            found |= {
                f"{band}_{name}": v if math.isfinite(v) else 0.0
                for name, v in zip(EXTRACTOR.names, values, strict=True)
            }
        return found

    def curves(self, record: dict[str, Any]) -> dict[int | str, list[tuple[float, float, float]]]:
        """By band, an alert's detections in order of time: time, brightness, its error."""
        bands, (band, time, value, error) = NAMES[self.stream]
        earlier, now = ("prv_candidates", "candidate") if self.stream == "ztf" else ("prvDiaSources", "diaSource")
        rows = [*(record.get(earlier) or ()), record[now]]
        return {
            one: sorted((row[time], row[value], row[error]) for row in rows if row[band] == one and row.get(value))
            for one in bands
        }

    def online(self, features: dict[str, float]) -> float:
        """Half-space trees: score first, then learn."""
        score = self.trees.score_one(features)
        self.trees.learn_one(features)
        return float(score)

    def row(self, record: dict[str, Any], score: float) -> tuple[str, str, dict[str, float], str]:
        """Set, hash, object and score, details."""
        if self.stream == "behaviour":
            owner, night = record["user_id"], str(record["transaction_date"])[:10]
        elif self.stream == "ztf":
            owner, night = record["objectId"], _night(record["candidate"]["jd"] - 2_440_587.5)
        else:
            owner, night = str(record["diaSource"]["diaObjectId"]), _night(record["diaSource"]["midPointTai"] - 40_587)
        return f"top:{night}", f"details:{night}", {owner: score}, json.dumps({"score": score})

    def write(self, rows: list[tuple[str, str, dict[str, float], str]]) -> None:
        """One pipeline."""
        with self.store.pipeline(transaction=False) as pipe:
            for top, details, scores, text in rows:
                pipe.zadd(top, scores, gt=True)
                pipe.hset(details, next(iter(scores)), text)
            for top in {row[0] for row in rows}:
                pipe.zremrangebyrank(top, 0, -KEPT - 1)
            pipe.execute()


def _night(days: float) -> str:
    """The date so many days after 1970-01-01."""
    return datetime.fromtimestamp(86_400 * days, UTC).date().isoformat()
