"""Is it well? Workers, throughput, lag, latency, and what became of every message."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from .board import dashboard
from .panels import ANY_IS_BAD, Steps, figure, lines, listing, stacked
from .promql import STREAM, WORKER, or_none, quantile, rate, summed, with_label

# The goal: half of all messages on the board within 50 ms, 99 of 100 within 250 ms.
GOALS: Steps = (("green", None), ("orange", 0.05), ("red", 0.25))
WITHIN = rate("skim_end_to_end_latency_seconds_bucket", with_label(STREAM, 'le="0.25"'))

HEALTH = (
    figure(
        "Workers",
        "Workers that answer, and those that Prometheus knows but can't reach.",
        units.Short,
        (f"count(skim_build_info{WORKER}) or vector(0)", "alive"),
        (f"count(up{WORKER} == 0) or vector(0)", "unreachable"),
        steps=(("green", None),),
    ),
    figure(
        "Paused",
        "Workers that wait for Redis, for dead letters to be delivered, or for the schema registry. Nothing is lost.",
        units.Short,
        (f"sum(skim_paused{WORKER})", "paused"),
        steps=ANY_IS_BAD,
    ),
    figure(
        "Partitions",
        "Partitions that workers own. Fewer than the topic has: some are read by nobody.",
        units.Short,
        (f"sum(skim_partitions_assigned{WORKER})", "assigned"),
    ),
    figure(
        "Last batch",
        "Since a batch was last applied to the board. Grows between nights; while messages wait it should not.",
        units.Seconds,
        (f"time() - max by (stream) (skim_last_applied_timestamp_seconds{STREAM})", "{{stream}}"),
    ),
    listing(
        "Build",
        "Versions, and how many workers run each. More than one row: a roll-out that hasn't ended.",
        (f"count by (version, python, librdkafka) (skim_build_info{WORKER})", ""),
        width=8,
    ),
)

THROUGHPUT = (
    lines(
        "Consumed",
        "Messages taken from Kafka.",
        units.MessagesPerSecond,
        (summed("stream", rate("skim_consumed_messages_total")), "{{stream}}"),
    ),
    stacked(
        "What became of them",
        "Every message is scored, unscored for a reason, or rejected for a reason: together what was consumed.",
        units.MessagesPerSecond,
        (summed("", rate("skim_scored_messages_total")), "scored"),
        (summed("", rate("skim_unscored_messages_total")), "unscored"),
        (summed("", rate("skim_rejected_messages_total")), "rejected"),
    ),
    figure(
        "Not accounted for",
        "Consumed less scored, unscored and rejected, since the workers began: 0. A batch at work while Prometheus "
        "looks may show for a moment; what stays is a defect.",
        units.Short,
        (
            f"sum(skim_consumed_messages_total{STREAM}) - sum(skim_scored_messages_total{STREAM})"
            f" - sum(skim_unscored_messages_total{STREAM}) - sum(skim_rejected_messages_total{STREAM})",
            "messages",
        ),
        steps=ANY_IS_BAD,
        height=8,
    ),
    figure(
        "Bytes consumed",
        "Bytes of the messages' values.",
        units.BytesPerSecondSI,
        (summed("stream", rate("skim_consumed_bytes_total")), "{{stream}}"),
        height=8,
    ),
)

TIMES = (
    lines(
        "Lag",
        "Messages that wait in Kafka. High is well as long as it falls; high and not falling is not.",
        units.Short,
        (f"sum by (stream) (skim_consumer_lag_messages{STREAM})", "{{stream}}"),
    ),
    lines(
        "Lag in seconds",
        "Age of the last message read while others wait, else 0.",
        units.Seconds,
        (f"max by (stream) (skim_consumer_lag_seconds{STREAM})", "{{stream}}"),
    ),
    lines(
        "Produced to visible on the board",
        "End-to-end latency, from Kafka's timestamp to the commit in Redis. Dashed: the goals, p50 below 50 ms and p99 "
        "below 250 ms. Messages that were old when they came (a replay, a restart) count with their age.",
        units.Seconds,
        (quantile(0.5, "skim_end_to_end_latency_seconds", "stream"), "{{stream}} p50"),
        (quantile(0.99, "skim_end_to_end_latency_seconds", "stream"), "{{stream}} p99"),
        steps=GOALS,
        logarithmic=True,
    ),
)

BAD = (
    stacked(
        "Rejected",
        "Messages that can't be read or be right, by reason; each goes to the dead-letter topic with its bytes.",
        units.MessagesPerSecond,
        (summed("reason", rate("skim_rejected_messages_total")), "{{reason}}"),
        width=6,
    ),
    lines(
        "Dead letters",
        "Delivered to the dead-letter topic, or failed and tried again: the worker waits for it (Paused).",
        units.MessagesPerSecond,
        (summed("outcome", rate("skim_dead_letter_messages_total")), "{{outcome}}"),
        width=6,
    ),
    stacked(
        "Unscored",
        "Good messages without a score, by reason; warming: the models are not warm yet.",
        units.MessagesPerSecond,
        (summed("reason", rate("skim_unscored_messages_total")), "{{reason}}"),
        width=6,
    ),
    figure(
        "Rejected of all",
        "Share of the messages that can't be read.",
        units.PercentUnit,
        (
            f"{summed('stream', rate('skim_rejected_messages_total'))}"
            f" / {summed('stream', rate('skim_consumed_messages_total'))}",
            "{{stream}}",
        ),
        steps=(("green", None), ("orange", 0.01), ("red", 0.05)),
        width=6,
        height=8,
    ),
)

SERVE = (
    figure(
        "Within 250 ms",
        "Share of the messages that were on the board within 250 ms; the goal is 99 %.",
        units.PercentUnit,
        (
            f"{summed('stream', WITHIN)} / {summed('stream', rate('skim_end_to_end_latency_seconds_count'))}",
            "{{stream}}",
        ),
        steps=(("red", None), ("orange", 0.95), ("green", 0.99)),
        width=6,
        height=8,
    ),
    lines(
        "Requests",
        "What `skim serve` answered, by status.",
        units.RequestsPerSecond,
        (or_none("sum by (status) (rate(skim_http_requests_total[$__rate_interval]))", "status"), "{{status}}"),
        width=9,
    ),
    lines(
        "Answered within",
        "99 of 100 requests to `skim serve` were answered faster, by route.",
        units.Seconds,
        (
            or_none(
                "histogram_quantile(0.99, sum by (le, route) "
                "(rate(skim_http_request_duration_seconds_bucket[$__rate_interval]))) >= 0",
                "route",
            ),
            "{{route}}",
        ),
        width=9,
    ),
)


def overview() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "skim-overview",
        "Overview",
        "Is it well? Workers, throughput, lag, latency, and what became of every message.",
        ("Health", HEALTH),
        ("Throughput", THROUGHPUT),
        ("Lag and latency", TIMES),
        ("What can't be scored", BAD),
        ("On the board, and the page", SERVE),
    )
