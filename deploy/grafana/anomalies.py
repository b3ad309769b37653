"""What was found? Anomalies, the thresholds in force, scores, who was told, models and features."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from .board import dashboard
from .panels import ANY_IS_BAD, PLAIN, Steps, distribution, figure, lines, listing, note, ranking, stacked
from .promql import STREAM, or_none, quantile, rate, summed, with_label

COMBINED = with_label(STREAM, 'part="combined"')
HIGH = with_label(STREAM, 'severity="high"')
SCORED = summed("stream", rate("skim_scored_messages_total"))
# One in a hundred events is notable or worse, one in a thousand high: that is what the thresholds follow.
EXPECTED: Steps = (("green", None), ("blue", 0.001), ("purple", 0.01))
# Population stability index: below 0.1 nothing to speak of, above 0.25 another population.
DRIFT: Steps = (("green", None), ("orange", 0.1), ("red", 0.25))


def _above(level: str) -> str:
    """The share of the scores above one of the histogram's bounds."""
    bound = f'le="{level}"'
    below = summed("stream", rate("skim_score_bucket", with_label(COMBINED, bound)))
    return f"1 - {below} / {summed('stream', rate('skim_score_count', COMBINED))}"


FOUND = (
    lines(
        "Anomalies",
        "Events above a threshold, each under its highest: notable is one event in a hundred, high one in a thousand.",
        units.EventsPerSecond,
        (summed("stream, severity", rate("skim_anomalies_total")), "{{stream}} {{severity}}"),
    ),
    lines(
        "Share of the scored events",
        "What the thresholds let through. Dashed: 1 % and 0.1 %, which they follow; a burst of odd events shows as a "
        "line above its own.",
        units.PercentUnit,
        (f"{summed('stream', rate('skim_anomalies_total'))} / {SCORED}", "{{stream}} notable or high"),
        (f"{summed('stream', rate('skim_anomalies_total', HIGH))} / {SCORED}", "{{stream}} high"),
        steps=EXPECTED,
    ),
    lines(
        "Rows of the board that changed",
        "Objects that came onto a night's list or rose in it.",
        units.CountsPerSecond,
        (summed("stream", rate("skim_board_changes_total")), "{{stream}}"),
    ),
    note(
        "Which objects?",
        "Prometheus counts; it doesn't know objects, which are too many to be labels. "
        "[The page](${page}/) has tonight's list, live, with light curves and reasons; `skim top` prints it.",
    ),
)

THRESHOLDS = (
    lines(
        "Thresholds in force",
        "The combined value above which an event is notable, or high: the partitions' mean. It follows the stream.",
        units.Number,
        (f"avg by (stream, severity) (skim_threshold{STREAM})", "{{stream}} {{severity}}"),
    ),
    lines(
        "Thresholds of the rules",
        "Above which combined value, or score, a rule of the monitor matches: the mean of the partitions.",
        units.Number,
        (f"avg by (stream, rule) (skim_monitor_threshold{STREAM})", "{{stream}} {{rule}}"),
    ),
    lines(
        "Shift of the frozen part",
        "How far the frozen part's usual score lies from where training left it, in spreads. Dashed: from 0.5 on it is "
        "trusted less; the stream isn't what the model has learned.",
        units.Number,
        (f"max by (stream) (abs(skim_frozen_shift{STREAM}))", "{{stream}}"),
        steps=(("green", None), ("orange", 0.5)),
    ),
)

SCORES = (
    distribution(
        "Scores",
        "How many events got which score. A score is a percentile of its stream, so the bands are as wide as their "
        "bounds say: half of the events lie below 0.5, one in a hundred above 0.99.",
        units.Number,
        summed("le", rate("skim_score_bucket", COMBINED)),
    ),
    lines(
        "Share of scores above 0.9, 0.99, 0.999",
        "What should be 10 %, 1 % and 0.1 %. A line that stays far from its own: the stream moves faster than scores "
        "follow.",
        units.PercentUnit,
        *((_above(level), "{{stream}} above " + level) for level in ("0.9", "0.99", "0.999")),
        width=12,
        logarithmic=True,
    ),
    lines(
        "What the parts say: usual",
        "How far above its own usual score each part finds an event, in spreads; the median. About 0 unless it drifts.",
        units.Number,
        (quantile(0.5, "skim_part_z", "stream, part"), "{{stream}} {{part}}"),
        width=12,
    ),
    lines(
        "What the parts say: odd",
        "The same for the oddest of 100 events. A part far above the others decides alone who is on the board.",
        units.Number,
        (quantile(0.99, "skim_part_z", "stream, part"), "{{stream}} {{part}}"),
        width=12,
    ),
)

TOLD = (
    lines(
        "Matches of the monitor",
        "Events that a rule asked for, before cooldowns and digests: all of them are in the topic of anomalies.",
        units.EventsPerSecond,
        (summed("stream, rule", rate("skim_monitor_matches_total")), "{{stream}} {{rule}}"),
    ),
    lines(
        "Notifications",
        "By channel and outcome: sent; retried; held back by a cooldown, or since it was enough for a night; "
        "dropped, since too many waited or the channel won't have them.",
        units.CountsPerSecond,
        ("sum by (channel, outcome) (rate(skim_notifications_total[$__rate_interval]))", "{{channel}} {{outcome}}"),
    ),
    lines(
        "Notifications that wait",
        "For a channel that is slow, or down, or for their digest.",
        units.Short,
        ("sum by (channel) (skim_notifications_waiting)", "{{channel}}"),
        width=4,
    ),
    figure(
        "Rules reloaded",
        "In the chosen time. Refused: the file isn't right, the log says why, and the rules stay as they were.",
        units.Short,
        ("sum by (outcome) (increase(skim_monitor_reloads_total[$__range]))", "{{outcome}}"),
        height=8,
    ),
)

MODELS = (
    listing(
        "Models in use",
        "Which bundle each stream is scored by, the one that looks on (shadow), and how many workers have it.",
        (f"count by (stream, model, version, features_hash) (skim_model_info{STREAM})", ""),
        width=10,
        height=8,
    ),
    figure(
        "Refused models",
        "Models that were activated in the chosen time and that a worker can't use: it goes on with the one before.",
        units.Short,
        (f"sum by (stream) (increase(skim_refused_models_total{STREAM}[$__range]))", "{{stream}}"),
        steps=ANY_IS_BAD,
        height=8,
    ),
    stacked(
        "Model and shadow",
        "Who finds an event notable: both, the model or the shadow alone. None while no shadow looks on.",
        units.EventsPerSecond,
        (
            or_none(
                summed(
                    "stream, verdict",
                    rate("skim_shadow_verdicts_total", with_label(STREAM, 'verdict!="neither"')),
                ),
                "verdict",
            ),
            "{{stream}} {{verdict}}",
        ),
        width=10,
    ),
)

FEATURES = (
    ranking(
        "Features that drift",
        "The ten features whose latest values differ most from training (population stability index): from 0.1 on some "
        "drift, from 0.25 on much. None until 500 values were seen.",
        units.Number,
        (
            or_none(f"topk(10, max by (stream, feature) (skim_feature_drift{STREAM}))", "feature"),
            "{{stream}} {{feature}}",
        ),
        steps=DRIFT,
    ),
    ranking(
        "Features that are missing",
        "The ten features that were imputed most often, as a share of the scored events.",
        units.PercentUnit,
        (
            or_none(
                f"topk(10, {summed('stream, feature', rate('skim_feature_missing_total'))}"
                f" / on (stream) group_left () {SCORED})",
                "feature",
            ),
            "{{stream}} {{feature}}",
        ),
        steps=PLAIN,
    ),
)


def anomalies() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "skim-anomalies",
        "Anomalies",
        "What was found? Anomalies, the thresholds in force, scores, who was told, models and features.",
        ("Found", FOUND),
        ("Thresholds", THRESHOLDS),
        ("Scores", SCORES),
        ("Told to people", TOLD),
        ("Models", MODELS),
        ("Features", FEATURES),
    )
