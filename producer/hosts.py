"""Real objects' cadences: when each was looked at, in which band, how deep, and how well its points were measured."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .schema import load
from .shapes import GREEN, Array, Ints, Shape, flux

LIMIT_SIGMAS = 5.0  # ZTF's diffmaglim is the 5 sigma limit
MAG_ERROR = 1.0857  # 2.5 / ln 10: the magnitude error of a relative flux error of 1
ON_REFERENCE = 1.5  # pixels; up to this an alert is about that source of the reference image
FEWEST_ROWS = 4  # fewer visits in 30 days are no cadence
MOST_DETECTED = 0.25  # share of its earlier visits that found a quiet object
REAL = 0.55  # real/bogus score from which broker science begins
MOVING = 12.0  # arcsec to a known solar system object
COLOUR = 0.7  # g - r, mag, of a reference source that was measured in one band only: a star like the Sun's neighbours
Record = Mapping[str, Any]
Row = dict[str, Any]

_PARSED = load("ztf_like").parsed["fields"]
CANDIDATE = tuple(one["name"] for one in next(f for f in _PARSED if f["name"] == "candidate")["type"]["fields"])
HISTORY = tuple(
    one["name"] for one in next(f for f in _PARSED if f["name"] == "prv_candidates")["type"][1]["items"]["fields"]
)
# What the schema needs and old alerts lack.
REQUIRED = {"pid": 0, "programid": 1, "ndethist": 0, "ncovhist": 0}


@dataclass(frozen=True, eq=False)
class Host:
    """An alert as a place for injection: its packet's rows, history first and in the packet's order, candidate last.

    jd (days), fid, limit (5 sigma, mag), magnitude and sigma (mag; NaN = upper limit) and positive (brighter than the
    reference) have one element a row.
    """

    name: str
    rows: tuple[Row, ...]
    jd: Array
    fid: Ints
    limit: Array
    magnitude: Array
    sigma: Array
    positive: NDArray[np.bool_]

    @property
    def candidate(self) -> Row:
        """The detection that caused the alert."""
        return self.rows[-1]

    @property
    def detected(self) -> NDArray[np.bool_]:
        """bool[n]: the rows that aren't upper limits."""
        return ~np.isnan(self.magnitude)

    @cached_property
    def difference(self) -> tuple[Array, Array]:
        """Difference flux and its error at each row, mag 20 = 1; 0 and the limit's fifth where nothing was found."""
        sky = flux(self.limit) / LIMIT_SIGMAS
        size = flux(np.where(self.detected, self.magnitude, self.limit))
        error = np.where(self.detected, size * np.where(self.detected, self.sigma, 0.0) / MAG_ERROR, sky)
        return np.where(self.detected, np.where(self.positive, size, -size), 0.0), error

    @cached_property
    def reference(self) -> dict[int, tuple[float, float]]:
        """(magnitude, its error) of the nearest reference source in each band; empty if the packet doesn't tell."""
        found: dict[int, tuple[float, float]] = {}
        for row in self.rows:
            if row["magnr"] is not None and row["magnr"] >= 0 and row["sigmagnr"] is not None:
                found[row["fid"]] = (row["magnr"], row["sigmagnr"])
        if found:
            known = min(found)
            for fid in set(self.fid.tolist()) - set(found):
                change = (fid == GREEN) - (known == GREEN)
                found[fid] = (float(np.float32(found[known][0] + COLOUR * change)), found[known][1])
        return found

    @property
    def on_reference(self) -> bool:
        """Whether the alert is about a source of the reference image, whose brightness is known."""
        distance = self.candidate["distnr"]
        return distance is not None and 0 <= distance <= ON_REFERENCE and bool(self.reference)

    @cached_property
    def star(self) -> Array:
        """Flux of that source in each row's band; 0 where there is none."""
        if not self.on_reference:
            return np.zeros(len(self.rows))
        return flux(np.array([self.reference[fid][0] for fid in self.fid.tolist()]))

    def suits(self, shape: Shape) -> bool:
        """Whether such a thing can be there, and be told from what is there already."""
        candidate = self.candidate
        if len(self.rows) < FEWEST_ROWS:
            return False
        if shape.place == "any":
            # What can be scored at all: three earlier detections in the candidate's band.
            return int((self.detected & (self.fid == candidate["fid"])).sum()) > 3
        moving = 0 < (candidate["ssdistnr"] or 0) <= MOVING  # -999 is none, and so was 0 in 2018
        if (candidate["rb"] or 0) < REAL or candidate["nbad"] or moving:
            return False
        if shape.place == "star":
            return self.on_reference
        quiet = self.detected[:-1].mean() <= MOST_DETECTED
        return bool(quiet and (not self.on_reference or self.star.max() < flux(shape.faintest)))


@dataclass(frozen=True)
class ErrorRelation:
    """How much larger a detection's flux error is than the background's, by signal to noise (flux / background error).

    A table of medians, read linearly in logarithms; constant beyond its ends. Bright sources have larger errors
    than the sky alone gives: photon noise, calibration, subtraction.
    """

    signal: tuple[float, ...]
    ratio: tuple[float, ...]

    @classmethod
    def fit(cls, hosts: Iterable[Host]) -> "ErrorRelation":
        """Of the detections of these objects; of `MEASURED` where they are fewer than 200.

        The ratio is 1 or more, and never falls with the signal.
        """
        signal, ratio = [np.zeros(0)], [np.zeros(0)]
        for host in hosts:
            (size, error), sky = host.difference, flux(host.limit) / LIMIT_SIGMAS
            good = host.detected & (error > 0)
            signal.append(np.abs(size[good]) / sky[good])
            ratio.append(error[good] / sky[good])
        signals, ratios = np.concatenate(signal), np.concatenate(ratio)
        if len(signals) < FEWEST_DETECTIONS:
            return MEASURED
        edges = np.quantile(signals, np.linspace(0, 1, BINS + 1))
        bins = np.clip(np.searchsorted(edges, signals, side="right") - 1, 0, BINS - 1)
        filled = [number for number in range(BINS) if (bins == number).any()]
        centres = [float(np.median(signals[bins == number])) for number in filled]
        medians = np.maximum.accumulate([max(1.0, float(np.median(ratios[bins == number]))) for number in filled])
        return cls(tuple(centres), tuple(medians.tolist()))

    def error(self, size: Array, limit: Array) -> Array:
        """Flux error of sources of these fluxes under these 5 sigma limits (mag).

        >>> MEASURED.error(np.array([0.0, 1.0]), np.array([20.0, 20.0])).round(3).tolist()
        [0.206, 0.216]
        """
        sky = flux(limit) / LIMIT_SIGMAS
        signal = np.log(np.maximum(np.abs(size) / sky, 1e-3))
        return sky * np.exp(np.interp(signal, np.log(self.signal), np.log(self.ratio)))


FEWEST_DETECTIONS, BINS = 200, 9
# Medians of 1,928 detections in 358 ZTF alerts of 2018 to 2025.
MEASURED = ErrorRelation((4, 6, 8.5, 12, 21, 42, 85, 190), (1.03, 1.12, 1.29, 1.47, 1.94, 2.43, 4.06, 6.28))


def host_of(record: Record) -> Host | None:
    """The alert as a host; None if it has no objectId, or lacks limits or what else every alert has."""
    if not record.get("objectId") or not isinstance(record.get("candidate"), Mapping):
        return None
    candidate = _row(record["candidate"], CANDIDATE)
    rows = (*(_row(one, HISTORY) for one in record.get("prv_candidates") or ()), candidate)
    needed = ("candid", "jd", "fid", "isdiffpos", "ra", "dec", "magpsf", "sigmapsf")
    if any(candidate[name] is None for name in needed):
        return None
    if any(row["jd"] is None or row["fid"] is None or row["diffmaglim"] is None for row in rows):
        return None
    valid = [row["magpsf"] is not None and row["sigmapsf"] is not None for row in rows]
    return Host(
        name=record["objectId"],
        rows=rows,
        jd=np.array([row["jd"] for row in rows]),
        fid=np.array([row["fid"] for row in rows], np.int64),
        limit=np.array([row["diffmaglim"] for row in rows], np.float64),
        magnitude=np.array([row["magpsf"] if ok else np.nan for row, ok in zip(rows, valid, strict=True)], np.float64),
        sigma=np.array([row["sigmapsf"] if ok else np.nan for row, ok in zip(rows, valid, strict=True)], np.float64),
        positive=np.array([row["isdiffpos"] in ("t", "1") for row in rows]),
    )


def distinct(hosts: Iterable[Host]) -> list[Host]:
    """One host an object, in order of first appearance: the one with the most rows."""
    best: dict[str, Host] = {}
    for host in hosts:
        if host.name not in best or len(host.rows) > len(best[host.name].rows):
            best[host.name] = host
    return list(best.values())


def _row(row: Record, names: tuple[str, ...]) -> Row:
    return {name: REQUIRED.get(name) if row.get(name) is None else row[name] for name in names}
