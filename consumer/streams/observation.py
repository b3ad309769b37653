"""Product records of an observatory's archive (JWST in MAST): where, when, how long, at what wavelength, and the rules.

What can't be right is scored, highest of all, not refused: finding it is what this stream is for. Planned observations,
without times, are scored on what they have.
"""

import json
import secrets
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ... import schemas
from ...schemas.columns import Columns, Wanted
from ...schemas.decode import Choice
from ...schemas.errors import DecodeError
from ...scoring.entities import Keys
from ...scoring.features.observation import FEATURES, NUMBERS, UNITS, ObservationFeatures
from .base import Features, Ints, Stateless, faults

MJD_OF_1970 = 40_587
# A release that can be: 1970 to 2100, as MJD. It says on which night's list the record stands.
EARLIEST, LATEST = 40_587.0, 88_069.0
MICROSECONDS_A_DAY = 86_400_000_000
# MAST's longest obs_id has some 70 characters.
ID_BYTES = 128
MALFORMED = f"is longer than {ID_BYTES} bytes, or holds control characters"
# Mixed into the filter's hash, so that instrument X with filter Y isn't Y with X. Any odd number does.
FILTER_SALT = np.uint64(0x9E3779B97F4A7C15)

Products = Literal["all", "image"]


SHOWN = ("dataproduct_type", "instrument_name", "filters", "target_name", "proposal_id")


class Observation:
    """The stream `observation`. products: score all types of product, or images alone."""

    name = "observation"
    framing: Choice = "plain"
    key_field = "obs_id"
    wanted = Wanted(
        numbers=NUMBERS,
        integers=("ingest_ts",),
        texts=("obs_id", "dataproduct_type", "instrument_name", "filters", "target_name", "proposal_id"),
    )
    features: tuple[str, ...] = FEATURES
    units: tuple[str, ...] = UNITS
    unscored_reasons: tuple[str, ...] = ("other_product", "warming")
    described: tuple[str, ...] = (*SHOWN, *NUMBERS)

    def __init__(self, products: Products = "all") -> None:
        self.products = products

    def schema(self) -> Mapping[str, Any] | None:
        """The project's own `observation/1.avsc`."""
        text = resources.files(schemas).joinpath("avsc", "observation", "1.avsc").read_text()
        schema: dict[str, Any] = json.loads(text)
        return schema

    def check(self, columns: Columns) -> list[tuple[int, DecodeError]]:
        """Records without an id, with numbers that aren't, or with a release that is in no calendar."""
        release = columns.number("t_obs_release")
        infinite = np.asarray((~np.isfinite(columns.numbers) & ~columns.number_null).any(axis=1))
        obs_id = columns.text("obs_id")
        return faults(
            (obs_id.length <= 0, DecodeError("invalid", "there is no obs_id")),
            (obs_id.malformed(ID_BYTES), DecodeError("invalid", f"obs_id {MALFORMED}")),
            (infinite, DecodeError("non_finite", "a number is NaN or infinite")),
            ((release < EARLIEST) | (release > LATEST), DecodeError("invalid", "t_obs_release is not in 1970 to 2100")),
        )

    def open(self) -> "ObservationState":
        """No instrument mode known yet."""
        return ObservationState(self)

    def modes(self, columns: Columns) -> Keys:
        """uint64[n]: a hash of instrument and filter, 0 where one isn't told."""
        instrument, filters = columns.text("instrument_name"), columns.text("filters")
        modes = instrument.hashes() ^ (filters.hashes() * FILTER_SALT)
        return np.where(instrument.null() | filters.null(), np.uint64(0), modes)

    def nights(self, columns: Columns) -> Ints:
        """The day (UTC) of the release; if there is none, of the ingest; 1970-01-01 if there is neither."""
        release = columns.number("t_obs_release")
        ingested = columns.integer("ingest_ts") // MICROSECONDS_A_DAY
        ingested = np.clip(ingested, 0, int(LATEST) - MJD_OF_1970)
        released = np.floor(np.where(np.isfinite(release), release, 0.0)).astype(np.int64) - MJD_OF_1970
        return np.where(np.isfinite(release), released, ingested)

    def object_id(self, columns: Columns, row: int) -> str:
        """The product."""
        return columns.text("obs_id").at(row) or ""

    def event_id(self, columns: Columns, row: int) -> str:
        """The product, too: an archive sends it once, or again when its record has changed."""
        return columns.text("obs_id").at(row) or ""

    def describe(self, columns: Columns, row: int) -> Mapping[str, float | int | str | None]:
        """What, with what, where, when."""
        texts = {name: columns.text(name).at(row) for name in SHOWN}
        return {**texts, **{name: _or_none(columns.number(name)[row]) for name in NUMBERS}}

    def light_curve(self, columns: Columns, row: int) -> None:
        """None: records of observations have none."""


class ObservationState(Stateless):
    """One partition's instrument modes. Satisfies `State`: they are few, so no key owns them."""

    def __init__(self, stream: Observation) -> None:
        self.stream = stream
        # Whoever writes records chooses the names: a secret salt keeps them from crowding one corner of the hash table.
        self.records = ObservationFeatures(secrets.randbits(64))
        self.state_bytes = self.records.state_bytes

    def features(self, columns: Columns) -> Features:
        """Every valid record of the wanted products is scorable."""
        rows = np.arange(len(columns))
        if self.stream.products != "all":
            rows = np.flatnonzero(columns.text("dataproduct_type").equals(self.stream.products))
        chosen = columns.take(rows)
        matrix = self.records.compute(chosen.numbers, self.stream.modes(chosen))
        return Features(rows, matrix, {"other_product": len(columns) - len(rows)})

    def shared(self) -> Mapping[str, NDArray[Any]]:
        """What the modes look like."""
        return self.records.shared()

    def restore(self, shared: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `shared` gave."""
        self.records.restore(shared)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
