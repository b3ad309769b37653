"""What does a worker do? Stages, batches, Redis, state, partitions, schemas, and its process."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from .board import dashboard
from .panels import ANY_IS_BAD, distribution, figure, lines, stacked
from .promql import STREAM, WORKER, mean, or_none, quantile, rate, summed

BATCHES = (
    stacked(
        "Mean time of a batch",
        "Mean time in each stage. Its sum over the batch's size is the cost of an event.",
        units.Seconds,
        (mean("skim_stage_duration_seconds", "stage", WORKER), "{{stage}}"),
    ),
    lines(
        "Slow batches",
        "99 of 100 batches were faster in this stage.",
        units.Seconds,
        (quantile(0.99, "skim_stage_duration_seconds", "stage", WORKER), "{{stage}}"),
    ),
    lines(
        "Busy",
        "Share of each worker's time that the stages take. Near 100 %: it can't keep up; more partitions and workers.",
        units.PercentUnit,
        (summed("instance", rate("skim_stage_duration_seconds_sum", WORKER)), "{{instance}}"),
    ),
    distribution(
        "Messages a batch",
        "Small batches: the stream is slower than the worker. All of the greatest size: it catches up.",
        units.Short,
        summed("le", rate("skim_batch_messages_bucket", WORKER)),
    ),
    lines(
        "Mean batch",
        "Messages a batch, by worker.",
        units.Short,
        (mean("skim_batch_messages", "instance", WORKER), "{{instance}}"),
        width=12,
    ),
)

REDIS = (
    lines(
        "Redis: operations",
        "Calls a second: begin (a partition is taken over), recall (states of entities), commit (board and offset), "
        "checkpoint.",
        units.OpsPerSecond,
        (summed("operation", rate("skim_redis_operation_duration_seconds_count", WORKER)), "{{operation}}"),
    ),
    lines(
        "Redis: slow operations",
        "99 of 100 calls were faster.",
        units.Seconds,
        (quantile(0.99, "skim_redis_operation_duration_seconds", "operation", WORKER), "{{operation}}"),
    ),
    lines(
        "Redis and Kafka: errors",
        "Calls to Redis that failed and are made again, by kind (unavailable: dead letters, registry or Kafka), and "
        "complaints of the Kafka client: down is no broker that answers, other mostly a connection made anew.",
        units.CountsPerSecond,
        (summed("kind", rate("skim_redis_errors_total", WORKER)), "Redis: {{kind}}"),
        (summed("kind", rate("skim_kafka_errors_total", WORKER)), "Kafka: {{kind}}"),
    ),
)

STATE = (
    lines(
        "Age of the checkpoint",
        "Since the oldest checkpoint of a partition that has learned more since: so much is read again after a crash.",
        units.Seconds,
        (f"max by (instance) (skim_checkpoint_age_seconds{WORKER})", "{{instance}}"),
    ),
    lines(
        "Checkpoints",
        "How long they take: mean, and 99 of 100 faster.",
        units.Seconds,
        (mean("skim_checkpoint_duration_seconds", "instance", WORKER), "{{instance}} mean"),
        (quantile(0.99, "skim_checkpoint_duration_seconds", "instance", WORKER), "{{instance}} p99"),
    ),
    figure(
        "Failed checkpoints",
        "In the chosen time, tries that Redis didn't take.",
        units.Short,
        (f"sum(increase(skim_checkpoint_failures_total{WORKER}[$__range]))", "failed"),
        steps=ANY_IS_BAD,
        height=8,
    ),
    figure(
        "State in memory",
        "Bytes of all that is remembered of entities.",
        units.BytesIEC,
        (f"sum(skim_state_bytes{WORKER})", "bytes"),
        height=8,
    ),
    lines(
        "Entities",
        "Users or objects in memory. Flat at the cap: the others wait in Redis.",
        units.Short,
        (f"sum by (instance) (skim_tracked_entities{WORKER})", "{{instance}}"),
        width=12,
    ),
    lines(
        "Entities forgotten",
        "To stay under the cap. Many, and often recalled (Redis: operations): raise state.capacity.",
        units.CountsPerSecond,
        (summed("instance", rate("skim_evicted_entities_total", WORKER)), "{{instance}}"),
        width=12,
    ),
)

PARTITIONS = (
    lines(
        "Partitions",
        "Owned by each worker. A worker with none has nothing to do: there are more workers than partitions.",
        units.Short,
        (f"sum by (instance) (skim_partitions_assigned{WORKER})", "{{instance}}"),
    ),
    lines(
        "Lag by partition",
        "Messages that wait. One partition far above the others: its keys are unevenly spread, or it is stuck.",
        units.Short,
        (f"max by (topic, partition) (skim_consumer_lag_messages{STREAM})", "{{topic}}/{{partition}}"),
    ),
    figure(
        "Rebalances",
        "Partitions that came or went in the chosen time; lost: another worker had them before they were left.",
        units.Short,
        (f"sum by (event) (increase(skim_rebalances_total{WORKER}[$__range]))", "{{event}}"),
        width=8,
        height=8,
    ),
    figure(
        "Stale fences",
        "Batches refused in the chosen time, because the offset had moved: another worker had the partition. Harmless, "
        "and rare.",
        units.Short,
        (f"sum(increase(skim_stale_fences_total{WORKER}[$__range]))", "refused"),
        steps=(("green", None), ("orange", 1e-9)),
        width=8,
    ),
    figure(
        "Lost offsets",
        "Jumps, in the chosen time, over messages that Kafka had removed before they were read. Those are lost.",
        units.Short,
        (f"sum(increase(skim_offset_out_of_range_total{STREAM}[$__range]))", "jumps"),
        steps=ANY_IS_BAD,
        width=8,
    ),
    figure(
        "Relearned",
        "Messages read again after restarts, in the chosen time: learned, not emitted, not among the consumed.",
        units.Short,
        (f"sum(increase(skim_relearned_messages_total{STREAM}[$__range]))", "messages"),
        width=8,
    ),
)

SCHEMAS = (
    lines(
        "Questions to the schema registry",
        "Schema ids looked up: memory, disk, folder were at hand; fetched was asked for; failed, refused and outage "
        "had no answer; held_back wasn't asked again so soon. None where messages carry their schema.",
        units.CountsPerSecond,
        (or_none(summed("event", rate("skim_registry_lookups_total")), "event"), "{{event}}"),
        width=16,
    ),
    figure(
        "Slow schemas",
        "Writer schemas that no compiled plan covers: fastavro reads them, some fifty times as slowly.",
        units.Short,
        (f"max by (stream) (skim_fallback_schemas{STREAM})", "{{stream}}"),
        steps=(("green", None), ("orange", 1)),
        width=8,
        height=8,
    ),
)

PROCESS = (
    lines(
        "CPU",
        "Cores that each worker, and `skim serve`, uses. librdkafka has threads of its own: it may be more than one.",
        units.Number,
        (rate("process_cpu_seconds_total", WORKER), "{{instance}}"),
    ),
    lines(
        "Memory",
        "Resident memory. It must stay flat once the cap of entities is reached.",
        units.BytesIEC,
        (f"process_resident_memory_bytes{WORKER}", "{{instance}}"),
    ),
    lines(
        "Open files",
        "File descriptors, sockets among them; dashed is where many systems draw the line.",
        units.Short,
        (f"process_open_fds{WORKER}", "{{instance}}"),
        steps=(("green", None), ("orange", 1024)),
        width=4,
    ),
    figure(
        "Restarts",
        "Starts of workers and of `skim serve` in the chosen time, the first not counted.",
        units.Short,
        (f"sum(changes(process_start_time_seconds{WORKER}[$__range]))", "restarts"),
        steps=(("green", None), ("orange", 1), ("red", 3)),
        height=8,
    ),
)


def worker() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "skim-worker",
        "Worker internals",
        "What does a worker do? Stages, batches, Redis, state, partitions, schemas, and its process.",
        ("Batches", BATCHES),
        ("Redis and Kafka", REDIS),
        ("State", STATE),
        ("Partitions", PARTITIONS),
        ("Schemas", SCHEMAS),
        ("Process", PROCESS),
    )
