"""`skim train`: a model bundle from files of events."""

from pathlib import Path
from typing import Annotated

import typer

# A file of training events is the user's own and is read whole; 2 GiB are some ten million sessions.
TRAINING_FILE_BYTES = 2 << 30


def train(
    stream: Annotated[str, typer.Argument(help="ztf, behaviour or observation.")],
    files: Annotated[list[Path], typer.Argument(help="Avro or CSV files, folders and tars of Avro; by time.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    labels: Annotated[
        Path | None, typer.Option(help="JSON lines with the event_id of each known anomaly: trains a random forest.")
    ] = None,
    trees: Annotated[int, typer.Option(min=1, max=10_000, help="Trees in the forest.")] = 100,
    samples: Annotated[int, typer.Option(min=2, help="Rows that each tree of an isolation forest sees.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed and files give the same model.")] = 42,
    images_only: Annotated[bool, typer.Option(help="observation: leave out all products but images.")] = False,
) -> None:
    """Train a model for a stream: a forest, and half-space trees that have lived through the same events.

    Without labels the forest is an isolation forest. With labels (as `skim simulate --truth` writes them) it is a
    random forest. Records that can't be read or be right are counted and left out.
    """
    import numpy as np

    from ..consumer.streams.base import night_name
    from ..consumer.streams.observation import Observation
    from ..consumer.streams.registry import stream_of
    from ..producer.archive import messages
    from ..schemas.errors import DecodeError
    from ..schemas.reader import read_file
    from ..scoring.train import Options
    from ..scoring.train import train as train_model
    from .csvfile import is_csv, read_csv
    from .progress import counting

    if images_only and stream != Observation.name:
        raise typer.BadParameter("only the stream observation has images", param_hint="--images-only")
    kind = Observation("image") if images_only else stream_of(stream)
    state, rows, nights = kind.open(), [], set()
    known, marks = _known(labels) if labels else None, []
    records = unreadable = wrong = 0
    unscored: dict[str, int] = {}
    with counting("reading") as progress:
        for name, data in messages(files, max_bytes=TRAINING_FILE_BYTES):
            try:
                table = read_csv(data, kind.wanted, TRAINING_FILE_BYTES) if is_csv(name) else None
                for columns in table or read_file(data, kind.wanted):
                    faults = {row for row, _ in kind.check(columns)}
                    good = columns.take(np.array([r for r in range(len(columns)) if r not in faults], np.int64))
                    found = state.features(good)
                    rows.append(found.matrix)
                    if known is not None:
                        marks += [kind.event_id(good, row) in known for row in found.rows.tolist()]
                    nights |= set(kind.nights(good).tolist())
                    wrong += len(faults)
                    records += len(columns)
                    for reason, count in found.unscored.items():
                        unscored[reason] = unscored.get(reason, 0) + count
            except DecodeError:
                if is_csv(name):  # it is all there is: say what is wrong with it
                    raise
                unreadable += 1
            progress(records)
    matrix = np.concatenate(rows) if rows else np.empty((0, len(kind.features)))
    reasons = ", ".join(f"{count} {reason}" for reason, count in unscored.items() if count)
    typer.echo(
        f"{records} records, {len(matrix)} scorable; left out: {wrong} invalid, {reasons or 'none unscorable'}; "
        f"{unreadable} unreadable files",
        err=True,
    )
    model = train_model(
        kind.name,
        kind.features,
        kind.units,
        matrix,
        np.array(marks, np.bool_) if known is not None else None,
        Options(trees, samples, seed),
        {
            "source": sorted({file.name for file in files}),
            "nights": [night_name(night) for night in (min(nights), max(nights))] if nights else [],
        },
    )
    model.save(out)
    typer.echo(f"model {model.id}, {len(model.features)} features, in {out}", err=True)


def _known(labels: Path) -> set[str]:
    """The event ids of known anomalies."""
    import json

    from ..scoring.errors import ModelError

    try:
        lines = [json.loads(line) for line in labels.read_text().splitlines() if line.strip()]
        return {str(line["event_id"]) for line in lines}
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror}", where=str(labels)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("every line must be a JSON object with an event_id", where=str(labels)) from error
