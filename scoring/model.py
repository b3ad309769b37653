"""The model bundle: a folder with `arrays.npz` and `manifest.json`, everything a stream needs to score.

A model carries its meaning: the names of its features *in order* with units, which way its scores point, what it was
trained on and how well it did. Whoever scores must offer the same features in the same order, or gets an error.
Nothing is ever unpickled, and no array is used before its dtype, shape and every index in it were checked.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .band_forests import FrozenForest, frozen_from_arrays
from .calibrate import Ranker
from .combine import Combiner
from .ecdf import RollingEcdf
from .ensemble import Ensemble, parts_of
from .errors import FeatureMismatch, ModelError
from .halfspace import HalfSpaceTrees
from .npz import TOTAL_BYTES, read_arrays, write_arrays
from .prepare import Reference
from .probability import Probability
from .sliding import SlidingForest
from .threshold import Thresholds

FORMAT, FORMAT_VERSION = "skimstream-model", 1
DIRECTION = "higher = more anomalous"
MANIFEST, ARRAYS = "manifest.json", "arrays.npz"
# A manifest lists features and metrics; the 52 names of a light-curve model take 4 kB.
MANIFEST_BYTES = 1 << 20
FILE_BYTES = 256 << 20
# Arrays take no more than 16 MiB and 64 times what the file takes (a trained model: 3 times): a small file can't cost
# the time and the memory of a large one.
SMALL_BYTES, INFLATION = 16 << 20, 64


@dataclass(frozen=True)
class Model:
    """A trained model of one stream, with the online parts as training left them (every partition starts there)."""

    stream: str
    features: tuple[str, ...]
    units: tuple[str, ...]
    forest: FrozenForest
    halfspace: HalfSpaceTrees
    reference: Reference
    combiner: Combiner
    ranker: Ranker
    thresholds: Thresholds = field(default_factory=Thresholds.begin)
    training: Mapping[str, Any] = field(default_factory=dict)  # source, rows, time range, seed, fingerprint
    metrics: Mapping[str, Any] = field(default_factory=dict)
    created_with: Mapping[str, str] = field(default_factory=dict)  # library versions
    sliding: SlidingForest | None = None
    ecdf: RollingEcdf | None = None
    probability: Probability | None = None  # of a classifier, from its votes, where labels calibrated them

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the ensemble's parts, in order."""
        return parts_of(self.sliding, self.ecdf)

    def ensemble(self) -> Ensemble:
        """A detector for one partition, independent of all others."""
        return Ensemble(
            self.forest,
            self.halfspace.copy(),
            self.reference,
            Combiner.from_arrays(dict(self.combiner.to_arrays()), len(self.parts)),
            Ranker.from_arrays(self.ranker.to_arrays()),
            Thresholds.from_arrays(self.thresholds.to_arrays()),
            self.sliding and self.sliding.copy(),
            self.ecdf and self.ecdf.copy(),
        )

    def require(self, features: Sequence[str]) -> None:
        """Raise `FeatureMismatch` unless the stream produces exactly this model's features, in this order."""
        if tuple(features) != self.features:
            raise FeatureMismatch(expected=self.features, given=tuple(features))

    @cached_property
    def id(self) -> str:
        """Twelve hex digits that change with any name, unit or number in the model."""
        digest = hashlib.sha256(json.dumps([self.stream, self.features, self.units]).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()[:12]

    @property
    def features_hash(self) -> str:
        """Twelve hex digits of the features' names and units, in order."""
        return hashlib.sha256(json.dumps([self.features, self.units]).encode()).hexdigest()[:12]

    def save(self, folder: Path) -> None:
        """Write the bundle into `folder` (created if it isn't there)."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files().items():
            (folder / name).write_bytes(data)

    def files(self) -> dict[str, bytes]:
        """The bundle as files: name → bytes. Equal models give equal bytes."""
        packed = write_arrays(self._arrays())
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "id": self.id,
            "stream": self.stream,
            "direction": DIRECTION,
            "features": [{"name": n, "unit": u} for n, u in zip(self.features, self.units, strict=True)],
            "arrays_sha256": hashlib.sha256(packed).hexdigest(),
            "training": dict(self.training),
            "metrics": dict(self.metrics),
            "created_with": dict(self.created_with),
        }
        return {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode(), ARRAYS: packed}

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read and check a bundle, taken as hostile. Raises `ModelError`, saying which file and what is wrong with it.

        Takes at most twice the memory that its arrays are allowed (512 MiB; less for a small file), and runs nothing.
        """
        limits = {MANIFEST: MANIFEST_BYTES, ARRAYS: FILE_BYTES}
        return cls.read({name: _read(folder / name, limit) for name, limit in limits.items()}, folder)

    @classmethod
    def read(cls, files: dict[str, bytes], folder: Path) -> "Model":
        """As `load`, from what `files` gave; `folder` is what errors call them. Empties `files`: they may be large."""
        for name, limit in ((MANIFEST, MANIFEST_BYTES), (ARRAYS, FILE_BYTES)):
            if len(files.get(name, b"")) > limit:
                raise ModelError(f"larger than {limit} bytes", where=str(folder / name))
        manifest = _read_manifest(files.pop(MANIFEST, b""), folder / MANIFEST)
        packed = files.pop(ARRAYS, b"")
        if hashlib.sha256(packed).hexdigest() != manifest["arrays_sha256"]:
            raise ModelError("the arrays are not the ones the manifest was written for", where=str(folder / ARRAYS))
        arrays = read_arrays(packed, folder / ARRAYS, min(TOTAL_BYTES, SMALL_BYTES + INFLATION * len(packed)))
        del packed
        features = tuple(one["name"] for one in manifest["features"])
        forest = frozen_from_arrays(_part(arrays, "forest"), features)
        halfspace = HalfSpaceTrees.from_arrays(_part(arrays, "halfspace"))
        if forest.n_features != len(features):
            raise ModelError(f"names {len(features)} features, the forest has {forest.n_features}", where=str(folder))
        if halfspace.features != features:
            raise FeatureMismatch(expected=features, given=halfspace.features)
        sliding = SlidingForest.from_arrays(own) if (own := _part(arrays, "sliding")) else None
        ecdf = RollingEcdf.from_arrays(own) if (own := _part(arrays, "ecdf")) else None
        for part in (sliding, ecdf):
            if part is not None and part.n_features != len(features):
                raise ModelError(f"names {len(features)} features, a part has {part.n_features}", where=str(folder))
        model = cls(
            stream=manifest["stream"],
            features=features,
            units=tuple(one["unit"] for one in manifest["features"]),
            forest=forest,
            halfspace=halfspace,
            reference=Reference.from_arrays(_part(arrays, "reference"), len(features)),
            combiner=Combiner.from_arrays(_part(arrays, "combiner"), len(parts_of(sliding, ecdf))),
            ranker=Ranker.from_arrays(_part(arrays, "ranker")),
            thresholds=Thresholds.from_arrays(_part(arrays, "thresholds")),
            training=manifest["training"],
            metrics=manifest["metrics"],
            created_with=manifest["created_with"],
            sliding=sliding,
            ecdf=ecdf,
            probability=_probability(_part(arrays, "probability"), forest),
        )
        if model.id != manifest["id"]:
            raise ModelError("the manifest's names do not belong to these arrays", where=str(folder / MANIFEST))
        return model

    def _arrays(self) -> dict[str, NDArray[Any]]:
        parts: dict[str, Mapping[str, NDArray[Any]]] = {
            "forest": self.forest.to_arrays(),
            "halfspace": self.halfspace.to_arrays(),
            "reference": self.reference.to_arrays(),
            "combiner": self.combiner.to_arrays(),
            "ranker": self.ranker.to_arrays(),
            "thresholds": self.thresholds.to_arrays(),
            "sliding": self.sliding.to_arrays() if self.sliding else {},
            "ecdf": self.ecdf.to_arrays() if self.ecdf else {},
            "probability": {} if self.probability is None else self.probability.to_arrays(),
        }
        return {f"{part}.{name}": array for part, group in parts.items() for name, array in group.items()}


def _part(arrays: dict[str, NDArray[np.generic]], part: str) -> dict[str, NDArray[np.generic]]:
    """Take one part's arrays out, frozen: who needs them as they are need not copy them."""
    prefix = part + "."
    taken = {name.removeprefix(prefix): arrays.pop(name) for name in tuple(arrays) if name.startswith(prefix)}
    for array in taken.values():
        array.setflags(write=False)
    return taken


def _probability(arrays: dict[str, NDArray[np.generic]], forest: FrozenForest) -> Probability | None:
    if not arrays:
        return None
    if forest.kind != "classifier":
        raise ModelError("only a classifier's votes can be made a probability", where="probability")
    return Probability.from_arrays(arrays)


def _read(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size  # `read` allocates what it is asked for
        with path.open("rb") as stream:
            data = stream.read(min(size, limit) + 1)
    except OSError as error:
        raise ModelError(
            f"can't be read ({error.strerror}); make a model with `skim train`", where=str(path)
        ) from error
    if len(data) > limit:
        raise ModelError(f"larger than {limit} bytes", where=str(path))
    return data


def _read_manifest(text: bytes, path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"not JSON: {error}", where=str(path)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError(f"not a {FORMAT} manifest", where=str(path))
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"format version {manifest.get('format_version')!r}; this release reads {FORMAT_VERSION}", where=str(path)
        )
    if manifest.get("direction") != DIRECTION:
        raise ModelError(f"direction {manifest.get('direction')!r}; {DIRECTION!r} is needed", where=str(path))
    for name, kind in (("id", str), ("stream", str), ("arrays_sha256", str), ("features", list)):
        if not isinstance(manifest.get(name), kind):
            raise ModelError(f"{name} is missing or not a {kind.__name__}", where=str(path))
    for name in ("training", "metrics", "created_with"):
        if not isinstance(manifest.get(name), dict):
            raise ModelError(f"{name} is missing or not an object", where=str(path))
    for one in manifest["features"]:
        if not (isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("unit"), str)):
            raise ModelError("every feature needs a name and a unit", where=str(path))
    # These reach terminals, metrics and Redis.
    texts = [manifest["stream"], *(one[key] for one in manifest["features"] for key in ("name", "unit"))]
    if not all(text.isprintable() for text in texts):
        raise ModelError("the stream and the features need printable names and units", where=str(path))
    names = [one["name"] for one in manifest["features"]]
    if not names or len(set(names)) != len(names):
        raise ModelError("features must be named, each once", where=str(path))
    return manifest
