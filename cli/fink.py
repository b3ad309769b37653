"""`skim models import-fink`: Fink's forests, from a fink-science wheel or a folder of ONNX files, into a bundle."""

import re
from pathlib import Path
from typing import Annotated, cast

import typer


def import_fink(
    source: Annotated[Path, typer.Argument(help="A fink-science wheel, or the folder that holds its model files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    user: Annotated[str, typer.Option(help="Whose forests: beta, emille, …; the public ones if none.")] = "",
    regime: Annotated[
        str, typer.Option(help="A, B or C: Fink's rule of combining bands. auto: B for 18 inputs, C for 25.")
    ] = "auto",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Feed each input the feature it was trained on, not what Fink feeds.")
    ] = False,
    base: Annotated[
        Path | None,
        typer.Option(help="A bundle of stream ztf whose online part to go on with; the shipped demo model if none."),
    ] = None,
) -> None:
    """Take Fink's isolation forests into a bundle for `skim run ztf --model FOLDER`.

    Nothing of Fink's comes with Skimstream: `pip download fink-science==7.4.0 --no-deps` gets the wheel. It says which
    order of features the forests were trained on, and how that shows. What a regime is: docs/fink.md.
    """
    import hashlib

    from ..consumer.streams.ztf import Ztf
    from ..scoring.band_forests import REGIMES, Regime
    from ..scoring.fink import FOREST_OF_BAND, band_forests, bundle, find_order
    from ..scoring.onnx_forest import read_onnx
    from .fink_files import read_fink_files
    from .models import load_model

    if regime not in (*REGIMES, "auto"):
        raise typer.BadParameter(f"{regime!r} is none of auto, {', '.join(REGIMES)}", param_hint="--regime")
    if not re.fullmatch(r"[A-Za-z0-9_]{0,64}", user):
        raise typer.BadParameter("letters, digits and underscores only", param_hint="--user")
    files = read_fink_files(source, user)
    forests = {name: read_onnx(data, f"forest_{name}") for name, data in files.forests.items()}
    orders = {name: str(find_order(forest)) for name, forest in forests.items()}
    for band, name in FOREST_OF_BAND.items():
        typer.echo(f"band {band}: forest_{name}, {orders[name]}", err=True)
    if regime == "auto":
        regime = "B" if forests["g"].n_features == 18 else "C"
    online = load_model(Ztf.name, base)
    online.require(Ztf.features)
    model = bundle(
        online,
        band_forests(forests, files.means, online.features, cast("Regime", regime), aligned),
        {
            "source": [source.name],
            "user": user or "public",
            "sha256": {f"forest_{name}": hashlib.sha256(data).hexdigest() for name, data in files.forests.items()},
            "regime": regime,
            "inputs": "as trained" if aligned else "as Fink feeds them",
            "order": {f"forest_{name}": order for name, order in orders.items()},
        },
    )
    model.save(out)
    typer.echo(f"model {model.id}, regime {regime}, inputs {model.training['inputs']}, in {out}", err=True)
