"""`skim train`: a model bundle from recorded events, measured on events held back."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from ..consumer.config import Settings
    from ..consumer.streams.base import Stream
    from ..scoring.recipe import Examples
    from ..scoring.split import Split
    from ..scoring.study import Study
    from .gather import Gatherer

SplitName = Literal["time", "grouped", "none"]


def train(
    stream: Annotated[str, typer.Argument(help="ztf, lsst, behaviour, observation, or one that --config defines.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Avro, CSV or JSON-lines files, folders and tars of Avro; or none, with --topic."),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Learn from this Kafka topic instead of files.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    preset: Annotated[str | None, typer.Option(help="A public stream; `skim presets` lists them.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="A TOML file with settings of the stream and its topic, and streams of your own."
        ),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="At most so many of its messages.")] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="What is there and what comes within, like 60s; else up to its end.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="JSON lines with the event_id of each known anomaly (`simulate --truth`).")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="The CSV column that says it, 1 or 0 (true or false, anomaly or normal).")
    ] = None,
    test: Annotated[
        list[Path] | None, typer.Option(help="Files to test on, later than the others; may be repeated.")
    ] = None,
    split: Annotated[
        SplitName | None, typer.Option(help="time: the latest rows are the test. grouped: whole users or objects are.")
    ] = None,
    test_share: Annotated[str, typer.Option(help="Share of the rows that is the test.")] = "25%",
    forest: Annotated[
        Literal["isolation", "random"] | None, typer.Option(help="With labels random, else isolation.")
    ] = None,
    search: Annotated[
        int, typer.Option(min=0, help="Try so many random settings of the forest; the best one is taken.")
    ] = 0,
    folds: Annotated[int, typer.Option(min=2, help="Folds within training that judge a setting.")] = 3,
    final: Annotated[
        Literal["all", "train"],
        typer.Option(help="What the model that is kept learns: all rows, or the training rows."),
    ] = "all",
    report: Annotated[Path | None, typer.Option(help="Folder for report.html and comparison.csv.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Override a refusal: identical-rows, id-like, label-derived, or id-like:FEATURE."),
    ] = None,
    trees: Annotated[int, typer.Option(min=1, max=10_000, help="Trees in the forest.")] = 100,
    samples: Annotated[int, typer.Option(min=2, help="Rows that each tree of an isolation forest sees.")] = 256,
    parts: Annotated[
        str | None,
        typer.Option(help="Of frozen, online, sliding, ecdf; the first two always; all but ecdf if none are named."),
    ] = None,
    window: Annotated[int, typer.Option(min=2, help="Events that fill a window of the half-space trees.")] = 250,
    winsor: Annotated[bool, typer.Option(help="Half-space trees: outliers move the scaling by little.")] = False,
    guard: Annotated[bool, typer.Option(help="Half-space trees: the oddest 2 % aren't learned.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed and files give the same model.")] = 42,
    images_only: Annotated[bool, typer.Option(help="observation: leave out all products but images.")] = False,
) -> None:
    """Train a model for a stream: a forest, and online parts that have lived through the same events.

    Without labels the forest is an isolation forest, with labels a random forest. Records that can't be read or be
    right are counted and left out.

    The latest quarter of the rows is held back and measures what the others taught; then the model learns them, too
    (--final train keeps the measured one). Rows are never split at random: the same user on both sides, a moment
    apart, would make any model look good. --report shows precision, recall, AUC and the like with intervals, and what
    simpler detectors reach on the same rows.

    Data that would give figures without a meaning is refused: test rows that are training rows, features that are ids,
    features made from the label. --allow overrides, and the bundle says so.

    Examples:

      skim train ztf NIGHT.tar.gz -o my-model

      skim train behaviour sessions.csv --label-column label --search 20 --report report -o my-model

      skim train behaviour --topic sessions --kafka broker:9092 -n 100000 -o my-model

      skim train payments --config skim.toml payments.csv -o my-model    # a stream of your own: [stream.payments]
    """
    from ..consumer.config import load_settings
    from ..consumer.configured import configured_stream
    from ..consumer.streams.observation import Observation
    from ..scoring.recipe import Recipe
    from ..scoring.study import study
    from ..scoring.train import Options
    from . import values
    from .gather import Gatherer, summary
    from .labels import Labels
    from .progress import counting

    if images_only and stream != Observation.name:
        raise typer.BadParameter("only the stream observation has images", param_hint="--images-only")
    flags = {"preset": preset, "stream": stream, "topic": topic, "kafka": {"bootstrap": kafka}}
    settings = load_settings(config, flags)
    if not files and settings.definition is not None:
        topic = settings.topic or stream
    topic = topic and settings.one_topic
    if bool(files) == bool(topic):
        raise typer.BadParameter("give files, or a topic with --topic: one of the two")
    if labels and label_column:
        raise typer.BadParameter("labels come from a file or from a column, not both", param_hint="--label-column")
    if topic and (label_column or test):
        raise typer.BadParameter("of a topic, give --labels; its own latest rows are the test", param_hint="--topic")
    if test and split:
        raise typer.BadParameter("files of their own are the test; there is nothing to split", param_hint="--split")
    if forest == "random" and not (labels or label_column):
        raise typer.BadParameter("a random forest needs labels", param_hint="--forest")
    share = values.share(test_share)
    named = tuple(name.strip() for name in parts.split(",")) if parts else Options().parts
    options = Options(trees, samples, seed, parts=named, window=window, winsor=winsor, guard=guard)
    kind = Observation("image") if images_only else configured_stream(settings)
    gatherer = Gatherer(kind, Labels.read(labels) if labels else Labels(column=label_column))
    with counting("reading") as progress:
        for read in _topic(gatherer, kind, settings, topic, count, for_) if topic else gatherer.files(files or ()):
            progress(read)
        before_test = gatherer.mark()
        for read in gatherer.files(test or ()):
            progress(read)
    examples = gatherer.examples()
    typer.echo(f"{gatherer.tally.records} records, {len(examples.matrix)} scorable; {gatherer.tally}", err=True)
    held_back = _split(examples, "given" if test else split, before_test, share, seed)
    found = study(
        examples,
        held_back,
        Recipe(
            options=options,
            forest=forest or ("random" if examples.labels is not None else "isolation"),
            search=search,
            folds=folds,
            allow=frozenset(allow or ()),
            final=final,
            compare=report is not None,
        ),
        {
            "source": sorted({file.name for file in (*(files or ()), *(test or ()))} or {topic}),
            **summary(gatherer),
            **_defined(settings),
        },
        counting,
    )
    found.model.save(out)
    _tell(found)
    if report is not None:
        _write(found, report)
    typer.echo(f"model {found.model.id}, {len(found.model.features)} features, in {out}", err=True)


def _defined(settings: "Settings") -> dict[str, Any]:
    """What a manifest says of a stream of one's own; nothing of another."""
    of = settings.definition
    if of is None:
        return {}
    return {
        "definition": of.model_dump(
            mode="json", by_alias=True, exclude={"model", "kept", "schema_file"}, exclude_defaults=True
        )
    }


def _topic(
    gatherer: "Gatherer",
    kind: "Stream",
    settings: "Settings",
    topic: str,
    count: int | None,
    for_: str | None,
) -> Iterator[int]:
    """Read a topic with the settings that a worker of it would have; nobody's offsets change."""
    from itertools import islice

    from ..consumer.configured import decoder_of
    from ..consumer.login import require
    from ..consumer.run import reading_options
    from ..consumer.stored import stored
    from . import values

    require(settings)
    received = stored(reading_options(settings), topic, values.seconds(for_) if for_ else None)
    yield from gatherer.topic(islice(received, count), decoder_of(settings, kind))


def _split(examples: "Examples", kind: str | None, before_test: int, share: float, seed: int) -> "Split | None":
    """The split that was asked for; without a wish by time, if there are rows enough to hold some back."""
    from ..scoring.split import SplitError, by_entity, by_time, given
    from ..scoring.study import enough
    from ..scoring.train import FEWEST_ROWS

    if kind == "none" or (kind is None and len(examples.matrix) < FEWEST_ROWS):  # then training itself refuses
        return None
    if kind == "given":
        made = given(examples.entity, before_test)
    else:
        made = by_entity(examples.entity, share, seed) if kind == "grouped" else by_time(examples.entity, share)
    if enough(examples, made):
        return made
    problem = f"{len(made.inner().train)} rows would be left to fit, {FEWEST_ROWS} are needed"
    if kind is not None:
        raise SplitError(f"{problem}: more rows, or --split none to train without measuring")
    typer.echo(f"nothing is held back or measured: {problem}", err=True)
    return None


def _tell(found: "Study") -> None:
    for one in found.overridden:
        typer.echo(f"overridden: {one.name}: {one.problem}", err=True)
    if found.found is not None:
        chosen = ", ".join(f"{name} {value}" for name, value in found.found.parameters.items())
        typer.echo(f"best of {len(found.found.trials)} settings: {chosen}", err=True)
    test: dict[str, Any] = found.model.metrics.get("test", {})
    if found.measured is not None and found.measured.main is not None:
        names = ("precision", "recall", "roc_auc", "average_precision", "false_positive_rate")
        said = ", ".join(f"{name.replace('_', ' ')} {test[name][0]}" for name in names)
        typer.echo(f"on {test['rows']} rows held back, {test['anomalies']} anomalies: {said}", err=True)


def _write(found: "Study", folder: Path) -> None:
    from ..scoring.report import comparison_csv, report_html

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(report_html(found), encoding="utf-8")
    if found.measured is not None and found.measured.contenders:
        (folder / "comparison.csv").write_text(comparison_csv(found.measured), encoding="utf-8")
    typer.echo(f"report in {folder}", err=True)
