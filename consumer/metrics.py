"""Every metric of the worker, in one table. One registry of its own; updated once a batch, never once an event.

Labels come from closed sets alone (streams, parts, reasons, stages), so hostile input can't add a time series.
"""

import platform
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from wsgiref.simple_server import WSGIServer

import confluent_kafka
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from ..schemas.decode import Decoder
from ..schemas.errors import REASONS, SkimError
from ..scoring.ensemble import Scores
from ..scoring.model import Model
from ..scoring.prepare import Reference
from ..scoring.threshold import SEVERITIES
from .address import Address
from .array_histogram import ArrayHistogram
from .connection import COMPLAINTS
from .drift import Drift
from .partition import Partition
from .patience import KINDS

Floats = NDArray[np.float64]

STAGES = ("decode", "features", "score", "commit")
# 50 µs (one small batch) to 2.5 s (something is wrong).
STAGE_BUCKETS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_BUCKETS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000)
# The goal is p50 < 50 ms and p99 < 250 ms.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# Percentiles crowd at the top, where it matters: one in ten, a hundred, a thousand, five thousand.
SCORE_BUCKETS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9998, 1.0)
# What the combiner makes of a part's scores lies in -3 to 8, most of it within 2.
Z_BUCKETS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
REBALANCES = ("assigned", "revoked", "lost")


class MetricsUnavailable(SkimError):
    """`/metrics` can't be served there."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(f"metrics can't be served on {host}:{port} ({problem}); --metrics-port 0 takes a free port")
        self.host = host
        self.port = port


class Metrics:
    """The table. `stream` labels everything that belongs to one stream."""

    def __init__(self, registry: CollectorRegistry, stream: str, unscored: Iterable[str]) -> None:
        r, by_stream = registry, ("stream",)
        self.registry = registry
        self.stream = stream
        self.build = Gauge("skim_build_info", "Versions, as labels", ("version", "python", "librdkafka"), registry=r)
        self.model = Gauge(
            "skim_model_info",
            "The models in use, as labels; model: ensemble, shadow",
            ("stream", "model", "version", "features_hash"),
            registry=r,
        )
        self.refused_models = Counter(
            "skim_refused_models_total", "Activated models that this worker can't use", by_stream, registry=r
        )
        self.consumed = Counter("skim_consumed_messages_total", "Messages taken from Kafka", by_stream, registry=r)
        self.consumed_bytes = Counter("skim_consumed_bytes_total", "Their values' bytes", by_stream, registry=r)
        self.scored = Counter("skim_scored_messages_total", "Messages that got a score", by_stream, registry=r)
        self.unscored = Counter(
            "skim_unscored_messages_total", "Good messages without a score", ("stream", "reason"), registry=r
        )
        self.rejected = Counter(
            "skim_rejected_messages_total", "Messages that can't be read or be right", ("stream", "reason"), registry=r
        )
        self.dead = Counter(
            "skim_dead_letter_messages_total", "Dead letters by what became of them", ("stream", "outcome"), registry=r
        )
        self.batch = Histogram("skim_batch_messages", "Messages a batch", buckets=BATCH_BUCKETS, registry=r)
        self.stage = Histogram(
            "skim_stage_duration_seconds",
            "Time a batch spends in a stage",
            ("stage",),
            buckets=STAGE_BUCKETS,
            registry=r,
        )
        self.latency = ArrayHistogram(
            "skim_end_to_end_latency_seconds", "Produced to visible on the board", by_stream, LATENCY_BUCKETS, r
        )
        self.lag = Gauge(
            "skim_consumer_lag_messages", "Messages not read yet", ("stream", "topic", "partition"), registry=r
        )
        self.lag_seconds = Gauge(
            "skim_consumer_lag_seconds",
            "Age of the last message read, while others wait; else 0",
            by_stream,
            registry=r,
        )
        self.applied = Gauge(
            "skim_last_applied_timestamp_seconds", "When a batch was last applied to the board", by_stream, registry=r
        )
        self.partitions = Gauge("skim_partitions_assigned", "Partitions this worker owns", registry=r)
        self.rebalances = Counter("skim_rebalances_total", "Partitions that came or went", ("event",), registry=r)
        self.stale = Counter("skim_stale_fences_total", "Batches refused because the offset had moved", registry=r)
        self.redis_seconds = Histogram(
            "skim_redis_operation_duration_seconds", "Redis calls", ("operation",), buckets=STAGE_BUCKETS, registry=r
        )
        self.troubles = Counter(
            "skim_redis_errors_total",
            "Redis calls that failed; kind unavailable: the dead-letter topic, the registry or Kafka instead",
            ("kind",),
            registry=r,
        )
        self.kafka_errors = Counter(
            "skim_kafka_errors_total",
            "What the Kafka client complains of; kind: down (no broker answers), authentication, other",
            ("kind",),
            registry=r,
        )
        self.paused = Gauge("skim_paused", "1 while waiting for Redis, dead letters or the registry", registry=r)
        self.out_of_range = Counter(
            "skim_offset_out_of_range_total", "Jumps over offsets that the topic no longer had", by_stream, registry=r
        )
        self.relearned = Counter(
            "skim_relearned_messages_total",
            "Messages read again after a restart, to learn and not to emit",
            by_stream,
            registry=r,
        )
        self.checkpoint_seconds = Histogram(
            "skim_checkpoint_duration_seconds", "Checkpoints written", buckets=STAGE_BUCKETS, registry=r
        )
        self.checkpoint_age = Gauge(
            "skim_checkpoint_age_seconds",
            "Since the oldest checkpoint of a partition that has learned more",
            registry=r,
        )
        self.checkpoint_failures = Counter(
            "skim_checkpoint_failures_total", "Checkpoints that could not be written at once", registry=r
        )
        self.entities = Gauge("skim_tracked_entities", "Entities remembered", registry=r)
        self.evicted = Counter("skim_evicted_entities_total", "Entities forgotten to stay under the cap", registry=r)
        self.state_bytes = Gauge("skim_state_bytes", "Memory of the remembered entities", registry=r)
        self.score = ArrayHistogram(
            "skim_score",
            "Scores, percentiles in [0, 1); part: combined",
            ("stream", "part"),
            SCORE_BUCKETS,
            r,
        )
        self.part_z = ArrayHistogram(
            "skim_part_z",
            "How far above its usual score each part finds an event, in spreads; part: frozen, online, sliding, ecdf",
            ("stream", "part"),
            Z_BUCKETS,
            r,
        )
        self.shift = Gauge(
            "skim_frozen_shift",
            "How far the frozen part's usual score lies from where training left it, in spreads",
            ("stream", "topic", "partition"),
            registry=r,
        )
        self.anomalies = Counter(
            "skim_anomalies_total",
            "Events above the threshold of one in a hundred (notable), one in a thousand (high)",
            ("stream", "severity"),
            registry=r,
        )
        self.threshold = Gauge(
            "skim_threshold",
            "The combined value above which an event is notable, or high; it follows the stream",
            ("stream", "topic", "partition", "severity"),
            registry=r,
        )
        self.shadow = Counter(
            "skim_shadow_verdicts_total",
            "Scored events by who finds them notable: both, model, shadow, neither",
            ("stream", "verdict"),
            registry=r,
        )
        self.board_changes = Counter(
            "skim_board_changes_total", "Rows of the board that changed", by_stream, registry=r
        )
        self.fallbacks = Gauge(
            "skim_fallback_schemas",
            "Writer schemas that no plan covers, read by fastavro, slowly",
            by_stream,
            registry=r,
        )
        self.lookups = Counter(
            "skim_registry_lookups_total",
            "Schemas asked for by id, by how it went",
            ("stream", "event"),
            registry=r,
        )
        self.lookups_told: dict[str, int] = {}
        self.told: dict[Gauge, set[tuple[str, ...]]] = {}
        self.models_told: tuple[tuple[str, str, str], ...] = ()
        self.missing = Counter(
            "skim_feature_missing_total", "Values imputed before scoring", ("stream", "feature"), registry=r
        )
        self.drift = Gauge(
            "skim_feature_drift",
            "Population stability index of the features against training: 0.1 some, 0.25 much",
            ("stream", "feature"),
            registry=r,
        )
        self.drifting: Drift | None = None
        ProcessCollector(registry=r)  # process_start_time_seconds tells restarts
        self.build.labels(version("skimstream"), platform.python_version(), confluent_kafka.libversion()[0]).set(1)
        for known in REASONS:  # a failure that hasn't happened yet is a zero, not a gap
            self.rejected.labels(stream, known)
        for counter in (
            *(self.consumed, self.consumed_bytes, self.scored, self.relearned),
            *(self.board_changes, self.refused_models, self.out_of_range),
        ):
            counter.labels(stream)
        for severity in SEVERITIES:
            self.anomalies.labels(stream, severity)
        for event in REBALANCES:
            self.rebalances.labels(event)
        for kind in COMPLAINTS:
            self.kafka_errors.labels(kind)
        for kind in KINDS:
            self.troubles.labels(kind)
        for reason in unscored:
            self.unscored.labels(stream, reason)
        for outcome in ("delivered", "failed"):
            self.dead.labels(stream, outcome)

    def observe_models(self, model: Model, shadow: Model | None) -> None:
        """Name the model in use, and the one that looks on."""
        told = tuple(
            (part, one.id, one.features_hash) for part, one in (("ensemble", model), ("shadow", shadow)) if one
        )
        if told != self.models_told:
            self.model.clear()
            for labels in told:
                self.model.labels(self.stream, *labels).set(1)
            self.models_told = told

    def observe_scores(self, scores: Scores) -> None:
        """Count the scores of a batch, and those of each severity, each event under its highest."""
        stream, shadow = self.stream, scores.shadow
        self.score.observe(scores.score, stream, "combined")
        severest = (scores.alarms * np.arange(1, len(SEVERITIES) + 1)).max(axis=1, initial=0)
        for place, severity in enumerate(SEVERITIES, 1):
            self.anomalies.labels(stream, severity).inc(int((severest == place).sum()))
        if shadow is not None:
            self.score.observe(shadow.score, stream, "shadow")
            scored = ~np.isnan(scores.score)
            ours, its = scores.alarms.any(axis=1), shadow.alarms.any(axis=1)
            verdicts = {"both": ours & its, "model": ours & ~its, "shadow": its & ~ours, "neither": ~(ours | its)}
            for verdict, found in verdicts.items():
                self.shadow.labels(stream, verdict).inc(int((found & scored).sum()))

    def observe_parts(self, scores: Scores, parts: Sequence[str]) -> None:
        """Count what each part of the ensemble says of a batch."""
        for column, part in enumerate(parts):
            self.part_z.observe(scores.z[:, column], self.stream, part)

    def observe_features(self, matrix: Floats, reference: Reference, now: float) -> None:
        """Compare scored events float64[n, f] with what the model was trained on."""
        if self.drifting is None or self.drifting.reference is not reference:
            self.drifting = Drift(reference)
        self.drifting.see(matrix, now)

    def report_drift(self, features: Sequence[str]) -> None:
        """Tell how far the features have moved, those of which enough was seen."""
        if self.drifting is not None:
            for feature, index in zip(features, self.drifting.index().tolist(), strict=True):
                if index == index:  # not NaN
                    self.drift.labels(self.stream, feature).set(index)

    def observe_missing(self, missing: NDArray[np.bool_], features: Sequence[str]) -> None:
        """Count the imputed values of bool[n, f], by feature."""
        for feature in np.flatnonzero(missing.any(axis=0)).tolist():
            self.missing.labels(self.stream, features[feature]).inc(int(missing[:, feature].sum()))

    def observe_decoder(self, decoder: Decoder) -> None:
        """Fallbacks, and what came of questions to the schema registry."""
        self.fallbacks.labels(self.stream).set(decoder.fallbacks)
        if decoder.registry is not None:
            for event, count in decoder.registry.counts.items():
                self.lookups.labels(self.stream, event).inc(count - self.lookups_told.get(event, 0))
                self.lookups_told[event] = count

    def observe_lag(self, lags: Mapping[Address, int], age: float) -> None:
        """Messages that wait, by partition, and the age of the last one read. Partitions that went are told no more."""
        self._by_partition(self.lag, {(one.topic, str(one.number)): lag for one, lag in lags.items()})
        self.lag_seconds.labels(self.stream).set(age)

    def observe_partitions(self, partitions: Collection[Partition], now: float) -> None:
        """Sum what all partitions remember, and find the one whose checkpoint is oldest."""
        held = [one.state.entities for one in partitions if one.state.entities is not None]
        self.entities.set(sum(entities.keys.tracked for entities in held))
        self.state_bytes.set(sum(one.state.state_bytes for one in partitions))
        levels: dict[tuple[str, ...], float] = {}
        for one in partitions:
            for severity, level in one.ensemble.thresholds.levels.items():
                levels[*one.labels, severity] = level
        self._by_partition(self.threshold, levels)
        self._by_partition(self.shift, {one.labels: one.ensemble.combiner.shift for one in partitions})
        self.checkpoint_age.set(max((now - one.saved_at for one in partitions if one.unsaved), default=0.0))
        for one in partitions:
            if one.state.entities is not None:
                self.evicted.inc(one.state.entities.keys.evicted - one.evicted_told)
                one.evicted_told = one.state.entities.keys.evicted

    def _by_partition(self, gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
        """Set a gauge by its labels but for the stream; what isn't told any more is gone, not frozen."""
        told = self.told.get(gauge, set())
        for labels in told - values.keys():
            gauge.remove(self.stream, *labels)
        for labels, value in values.items():
            gauge.labels(self.stream, *labels).set(value)
        self.told[gauge] = set(values)


def serve(registry: CollectorRegistry, host: str, port: int) -> tuple[WSGIServer, threading.Thread]:
    """Serve `/metrics`; loopback unless `host` says otherwise. Port 0 takes a free one."""
    try:
        return start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise MetricsUnavailable(host, port, error.strerror or str(error)) from error
