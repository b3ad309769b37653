"""Alerts as a worker sees them: features by the stream's own code, scores in the order of the stream."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..consumer.streams.ztf import SCORED_BANDS, Gate, Ztf
from ..consumer.streams.ztf_curve import BANDS
from ..producer.archive import messages
from ..producer.hosts import Host, distinct, host_of
from ..producer.simulate.event import Simulated
from ..producer.simulate.night import simulate_night
from ..schemas.errors import DecodeError
from ..schemas.gather import gather
from ..schemas.reader import read_records
from ..scoring.ensemble import PARTS, Ensemble

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIRST_NIGHT = date(2026, 11, 1)  # no night that the demo models learned from
MOST_ALERTS = 5_000  # of files: a packet as records takes some 50 KB
HOSTS_SIMULATED = 500  # alerts that give cadences where no files do
HOSTS_SEED = 777_000  # and their seed, beside the evaluation's own
OURS, FOREST, AMPLITUDE, RANDOM = "skimstream", "frozen forest", "amplitude", "random"
METHODS = (OURS, FOREST, AMPLITUDE, RANDOM)
OPEN = Gate(min_real_bogus=0.0, min_deep_real_bogus=0.0, max_bad_pixels=float("inf"))


@dataclass(frozen=True, eq=False)
class Alerts:
    """Scorable alerts, one row each: jd (days), owners (number of the object), matrix float64[n, f], passes (the
    real/bogus gate), index (place in the list that they were read from)."""

    jd: Floats
    owners: Ints
    matrix: Floats
    passes: NDArray[np.bool_]
    index: Ints

    def take(self, rows: Ints | NDArray[np.bool_]) -> "Alerts":
        """Some of the rows, in this order."""
        return Alerts(self.jd[rows], self.owners[rows], self.matrix[rows], self.passes[rows], self.index[rows])

    def mixed(self, other: "Alerts") -> "Alerts":
        """Both in time order, as a topic would have them."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        both = Alerts(*(np.concatenate(pair) for pair in pairs))
        return both.take(np.argsort(both.jd, kind="stable"))


class Reader:
    """Alerts → features, by the stream's own code from columns on: gathered (as JSON records are), checked, computed.

    Writing them in Avro and decoding that gives the same bits (a test says so) and takes several times as long.
    All alerts are computed, those that fail the gate too: in packet mode a feature depends on its own packet alone.
    """

    def __init__(self) -> None:
        self.stream, self.gate = Ztf(gate=OPEN), Gate()
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The object's number: 0, 1, 2, … in order of first appearance."""
        return self._numbers.setdefault(name, len(self._numbers))

    def read(self, alerts: Sequence[Simulated]) -> Alerts:
        """The scorable ones of these alerts, in their order."""
        owners = np.array([self.number(alert.key) for alert in alerts], np.int64)
        columns = gather([alert.record for alert in alerts], self.stream.wanted)
        good = np.ones(len(columns), np.bool_)
        good[[row for row, _ in self.stream.check(columns)]] = False
        kept = np.flatnonzero(good)
        columns = columns.take(kept)
        found = self.stream.open().features(columns)
        jd, passes, index = columns.number("candidate.jd"), self.gate.passes(columns), kept[found.rows]
        return Alerts(jd[found.rows], owners[index], found.matrix, passes[found.rows], index)

    def scores(self, ensemble: Ensemble, alerts: Alerts, rng: np.random.Generator) -> dict[str, Floats]:
        """Scores by `METHODS`, higher = more anomalous, NaN = none. The ensemble learns the alerts, in order."""
        scored = ensemble.score_learn(alerts.matrix)
        columns = [self.stream.features.index(f"{BANDS[band]}_amplitude") for band in SCORED_BANDS]
        return {
            OURS: scored.score,
            FOREST: scored.raw[:, PARTS.index("frozen")],
            AMPLITUDE: np.fmax.reduce(alerts.matrix[:, columns], axis=1),
            RANDOM: rng.random(len(alerts.jd)),
        }


def read_hosts(paths: Iterable[Path], max_bytes: int, progress: Callable[[int], None]) -> tuple[Sequence[Host], int]:
    """The first 5,000 alerts in these files as hosts, one an object, and how many records couldn't be any."""
    hosts: list[Host] = []
    left_out = 0
    for _, data in messages(paths, max_bytes=max_bytes):
        try:
            for record in read_records(data):
                host = host_of(record)
                hosts += [host] if host else []
                left_out += host is None
                progress(len(hosts))
                if len(hosts) >= MOST_ALERTS:
                    return distinct(hosts), left_out
        except DecodeError:
            left_out += 1
    return distinct(hosts), left_out


@cache
def simulated_hosts(seed: int) -> Sequence[Host]:
    """Cadences of a simulated night, where there are no real ones."""
    alerts = simulate_night(HOSTS_SEED + seed, FIRST_NIGHT, HOSTS_SIMULATED, 0.0)
    return distinct(host for host in (host_of(alert.record) for alert in alerts) if host)
