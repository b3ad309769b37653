"""`skim train`: a model bundle from files of events."""

from pathlib import Path
from typing import Annotated

import typer

# A file of training events is the user's own and is read whole; 2 GiB are some ten million sessions.
TRAINING_FILE_BYTES = 2 << 30


def train(
    stream: Annotated[str, typer.Argument(help="ztf or behaviour.")],
    files: Annotated[list[Path], typer.Argument(help="Avro files, folders of them, tar archives; in order of time.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    trees: Annotated[int, typer.Option(min=1, max=10_000, help="Trees in the isolation forest.")] = 100,
    samples: Annotated[int, typer.Option(min=2, help="Rows that each tree sees.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed and files give the same model.")] = 42,
) -> None:
    """Train a model for a stream: an isolation forest, and half-space trees that have seen the same events.

    Records that can't be read or be right are counted and left out.
    """
    import numpy as np

    from ..consumer.streams.base import night_name
    from ..consumer.streams.registry import stream_of
    from ..producer.archive import messages
    from ..schemas.decode import read_file
    from ..schemas.errors import DecodeError
    from ..scoring.train import Options
    from ..scoring.train import train as train_model
    from .progress import counting

    kind = stream_of(stream)
    state, rows, nights = kind.open(), [], set()
    records = unreadable = wrong = 0
    unscored: dict[str, int] = {}
    with counting("reading") as progress:
        for _, data in messages(files, max_bytes=TRAINING_FILE_BYTES):
            try:
                for columns in read_file(data, kind.wanted):
                    faults = {row for row, _ in kind.check(columns)}
                    good = columns.take(np.array([r for r in range(len(columns)) if r not in faults], np.int64))
                    found = state.features(good)
                    rows.append(found.matrix)
                    nights |= set(kind.nights(good).tolist())
                    wrong += len(faults)
                    records += len(columns)
                    for reason, count in found.unscored.items():
                        unscored[reason] = unscored.get(reason, 0) + count
            except DecodeError:
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
        Options(trees, samples, seed),
        {
            "source": sorted({file.name for file in files}),
            "nights": [night_name(night) for night in (min(nights), max(nights))] if nights else [],
        },
    )
    model.save(out)
    typer.echo(f"model {model.id}, {len(model.features)} features, in {out}", err=True)
