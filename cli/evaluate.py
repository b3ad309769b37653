"""`skim evaluate`: how well known anomalies are found: those of labels, or some that are put into real cadences."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..scoring.evaluate import Interval
    from .injected import Evaluation

# Files of alerts are the user's own: 2 GiB are some thirty thousand with their cutouts.
ALERT_FILE_BYTES = 2 << 30
ALL = "supernova,cv-outburst,microlensing,tde,flare,artefact"
BARS = [0.99, 0.999]
POINTS = (4, 5, 6, 8, 10, 12, 15, 20, 30)


def evaluate(
    stream: Annotated[str, typer.Argument(help="ztf, or with labels any, also one that --config defines.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Alerts whose cadences to take, 5,000 at most: Avro files, folders, tars. None: simulated. "
            "With labels, the events, also CSV and JSON lines. None: the topic's."
        ),
    ] = None,
    inject: Annotated[str, typer.Option(help="Shapes, separated by commas.")] = ALL,
    model: Annotated[
        Path | None, typer.Option(help="Model bundle, also one of Fink's forests; the demo's if none.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first seed. The same seeds and files give the same.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, max=1_000, help="How many seeds, each with nights of its own.")] = 3,
    nights: Annotated[int, typer.Option(min=1, max=100, help="Evaluated nights a seed, after one to begin.")] = 2,
    background: Annotated[int, typer.Option(min=100, help="Simulated ordinary alerts a night.")] = 2_500,
    copies: Annotated[int, typer.Option(min=1, max=10, help="Injected objects a night, one shape at a time.")] = 5,
    labels: Annotated[
        Path | None, typer.Option(help="Instead of injection: labels that have come since, JSON lines or CSV.")
    ] = None,
    labels_topic: Annotated[str | None, typer.Option(help="… from a topic, as `skim join` reads it.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")] = None,
    topic: Annotated[str | None, typer.Option(help="Labels: topic of the events; the stream's by default.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Labels: judge events from this time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Labels: judge events before this time.")] = None,
    night: Annotated[list[str] | None, typer.Option(help="Labels: judge this night alone; may be repeated.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels: how much of a night's list is looked at.")] = 100,
    threshold: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="Labels: scores that call for action; 0.99 and 0.999.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
) -> None:
    """Tell how good scores were by labels that have come since, or inject known light curves and see who finds them.

    With --labels (or --labels-topic, or labels among the events of a stream of your own) all events are scored again,
    as a worker scores them that begins where they begin, and those are judged of which it is known what they were: AUC
    and average precision, how many of a night's top were right, precision and recall at thresholds, with intervals
    (95 %, whole users or objects resampled), and what each part alone would have reached.

        skim evaluate payments -c skim.toml --model my-model --labels complaints.csv --from 2026-11-01

    Otherwise known light curves go into real cadences, to see which of them the model brings to the top.

    Each injected object takes a real alert's times, bands, limits, errors and real/bogus scores. A
    shape's flux is added, and its alerts are scored as any others, mixed with a night's in time
    order. What is told:

    - how many are among the 10 most anomalous objects of their night, by the model, by its
      frozen forest alone, by the largest amplitude, by chance; "control": with nothing added;
    - how many points had been seen when they would first have got there;
    - artefacts among the 10, with and without the real/bogus gate.

    Intervals (95 %) come from resampling cadences, or nights. The last line is one JSON object.

        skim evaluate ztf alerts/ --inject supernova,flare --model my-model
    """
    from ..consumer.config import load_settings
    from ..consumer.streams.registry import NAMES, stream_of
    from ..producer.shapes import shapes_of
    from .injected import Evaluation, Plan
    from .models import load_model
    from .nights import read_hosts, simulated_hosts
    from .progress import counting

    own = config is not None and labels is None and labels_topic is None and stream not in NAMES
    if labels is not None or labels_topic is not None or own:
        from .judge import Wishes, judge, report_of

        wishes = Wishes(files or [], labels, labels_topic, from_, until, tuple(night or ()), top, threshold or BARS)
        flags = {"stream": stream, "topic": topic, "model": model, "kafka": {"bootstrap": kafka}}
        told = judge(load_settings(config, flags), wishes)
        typer.echo(json.dumps(told) if as_json else f"{report_of(told)}\n{json.dumps(told)}")
        return
    if stream_of(stream).name != "ztf":
        raise typer.BadParameter("only alerts of the stream ztf can be injected into", param_hint="STREAM")
    shapes = shapes_of(inject)
    bundle = load_model("ztf", model)
    if files:
        with counting("reading") as progress:
            hosts, left_out = read_hosts(files, ALERT_FILE_BYTES, progress)
    else:
        hosts, left_out = simulated_hosts(seed), 0
    plan = Plan(tuple(range(seed, seed + seeds)), nights, background, copies, real=bool(files))
    evaluation = Evaluation(bundle, hosts, shapes, plan)
    with counting("evaluating", evaluation.parts) as progress:
        evaluation.run(progress)
    figures = {"model": bundle.id, "left_out": left_out, **summary(evaluation)}
    if not as_json:
        typer.echo(report(figures))
    typer.echo(json.dumps(figures))


def summary(evaluation: "Evaluation") -> dict[str, Any]:
    """The figures: shares as [mean, lower, upper]; null = nothing to take a share of."""
    import numpy as np

    from ..scoring.evaluate import bootstrap
    from .injected import BEST
    from .nights import METHODS, OURS

    plan = evaluation.plan

    def share(values: Any, clusters: Any) -> list[float] | None:
        return _rounded(bootstrap(np.asarray(values, np.float64), np.asarray(clusters, np.int64), plan.seeds[0]))

    shapes: dict[str, Any] = {}
    for name, found in evaluation.found.items():
        host, scorable, control = np.array(found.host), np.array(found.scorable), np.array(found.control_scorable)
        best = {method: np.array(found.rank[method]) <= BEST for method in METHODS}
        first = {method: np.array(found.first_top[method]) for method in METHODS}
        alarm, reached, seed = np.array(found.first_alarm), np.array(found.reached), np.array(found.seed)
        shapes[name] = {
            "objects": len(host),
            "cadences": len(np.unique(host)),
            "scorable": share(scorable, host),
            "recall": {method: share(best[method], host) for method in METHODS},
            "recall_of_scorable": {method: share(best[method][scorable], host[scorable]) for method in METHODS},
            "median_rank": {method: _median(found.rank[method]) for method in METHODS},
            "recall_by_seed": [round(float(best[OURS][seed == one].mean()), 4) for one in plan.seeds],
            "control": share(np.array(found.control) <= BEST, host),
            "control_scorable": share(control, host),
            "points": [
                {
                    "points": points,
                    "reached": share(reached >= points, host),
                    "in_top": {method: share(first[method] <= points, host) for method in METHODS},
                    "above_0.99": share(alarm <= points, host),
                }
                for points in POINTS
            ],
        }
    every = np.arange(len(evaluation.artefacts.seed))
    return {
        "seeds": list(plan.seeds),
        "nights_a_seed": plan.nights,
        "top": BEST,
        "alerts_a_night": plan.background,
        "scorable_a_night": round(float(np.mean(evaluation.scorable_a_night))),
        "injected_a_night": plan.copies,
        "cadences": {"real": plan.real, "objects": len(evaluation.hosts)}
        | {name: len(suited) for name, suited in evaluation.suited.items()},
        "shapes": shapes,
        "artefacts": None
        if evaluation.bogus is None
        else {
            "injected_a_night": plan.artefacts,
            "share_of_top": {
                gate: {method: share(values, every) for method, values in methods.items()}
                for gate, methods in evaluation.artefacts.share.items()
            },
        },
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as a text for people."""
    from .nights import METHODS, OURS

    top, shapes, lines = figures["top"], figures["shapes"].items(), []
    if shapes:
        lines += [
            f"{len(figures['seeds'])} seeds × {figures['nights_a_seed']} nights of {figures['scorable_a_night']} "
            f"scorable alerts; {figures['injected_a_night']} injected objects a night, one shape at a time",
            f"\nRecall in the top {top} of a night, %, of all injected objects",
            _line("", [*METHODS, "control", "scorable", "objects", "cadences"]),
        ]
    for name, one in shapes:
        shares = [*one["recall"].values(), one["control"], one["scorable"]]
        lines.append(_line(name, [*map(_percent, shares), str(one["objects"]), str(one["cadences"])]))
    if shapes:
        lines += ["\n… of those that could be scored that night", _line("", METHODS)]
    for name, one in shapes:
        lines.append(_line(name, list(map(_percent, one["recall_of_scorable"].values()))))
    if shapes:
        lines += [f"\nFound by the time so many points were seen, %: in the top {top} / score > 0.99 / had so many"]
        lines.append(_line("", list(map(str, POINTS)), 11))
    for name, one in shapes:
        cells = [(point["in_top"][OURS][0], point["above_0.99"][0], point["reached"][0]) for point in one["points"]]
        lines.append(_line(name, ["/".join(f"{100 * share:.0f}" for share in cell) for cell in cells], 11))
    if figures["artefacts"]:
        many = figures["artefacts"]["injected_a_night"]
        lines += [f"\nArtefacts among the top {top}, %, of {many} injected a night", _line("", METHODS)]
        for gate, share in figures["artefacts"]["share_of_top"].items():
            lines.append(_line(gate, list(map(_percent, share.values()))))
    return "\n".join(lines) + "\n"


def _line(name: str, cells: Sequence[str], width: int = 15) -> str:
    return f"{name:13}" + "".join(f"{cell:>{width}}" for cell in cells)


def _percent(share: list[float] | None) -> str:
    return "–" if share is None else "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * one for one in share))


def _median(ranks: list[float]) -> float | None:
    """The rank that half of the objects reach; null = half of them have none."""
    rank = sorted(ranks)[(len(ranks) - 1) // 2]
    return rank if rank != float("inf") else None


def _rounded(interval: "Interval") -> list[float] | None:
    values = [round(value, 4) for value in (interval.mean, interval.low, interval.high)]
    return None if values[0] != values[0] else values
