"""Known objects put into nights of alerts: what was found, and what else might have found it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from ..consumer.streams.ztf import Ztf
from ..producer.hosts import ErrorRelation, Host
from ..producer.implant import Implanted, alert_of, implant
from ..producer.shapes import NOTHING, Shape
from ..producer.simulate.cadence import NIGHT_STARTS, midnight
from ..producer.simulate.event import Simulated
from ..producer.simulate.night import object_name, simulate_night
from ..schemas.errors import SkimError
from ..scoring.ensemble import Ensemble
from ..scoring.evaluate import best_scores, entry, first_hits, ranks, top
from ..scoring.model import Model
from .nights import FIRST_NIGHT, METHODS, OURS, Alerts, Reader

BEST = 10  # of a night: what Fink publishes, and people look at
ALARM = 0.99
# Injected artefacts, as a share of a night's other alerts. In a real burst of 263 alerts 38 % have rb < 0.55, but most
# of those have too few points to be scored; injected ones stand on objects that can be.
ARTEFACTS = 0.05
# Objects are named by night; the injected ones take the names of a night that isn't simulated.
INJECTED_NIGHT = date(2026, 6, 1)
FIRST_CANDID = 3 * 10**18  # above ZTF's own, below 2**63


class EvaluationError(SkimError):
    """What was asked for can't be evaluated on what is there."""


@dataclass(eq=False)
class Found:
    """What came of one shape's objects: one element an object, in every array.

    host, seed: numbers. scorable: had a scorable alert past the gate that night. rank: of the night, by method;
    control: ours, of the same host with nothing added. first_top, first_alarm: points seen when it first would
    have entered the top 10, or scored above 0.99, by method; reached: the most points it had in any alert.
    """

    host: list[int] = field(default_factory=list)
    seed: list[int] = field(default_factory=list)
    scorable: list[bool] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    control_scorable: list[bool] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    rank: dict[str, list[float]] = field(default_factory=lambda: {method: [] for method in METHODS})
    first_top: dict[str, list[float]] = field(default_factory=lambda: {method: [] for method in METHODS})
    first_alarm: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Shares:
    """Artefacts among a night's 10 best, one element a night: by gate ("gate", "no gate") and method."""

    seed: list[int] = field(default_factory=list)
    share: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {gate: {method: [] for method in METHODS} for gate in ("gate", "no gate")}
    )


@dataclass(frozen=True)
class Plan:
    """What to do: seeds, evaluated nights a seed, other simulated alerts a night, injected objects a shape and night.

    real: whether the hosts' own alerts are part of the nights, each in one of them.
    """

    seeds: tuple[int, ...]
    nights: int
    background: int
    copies: int
    real: bool

    @property
    def artefacts(self) -> int:
        """Injected artefacts a night."""
        return max(1, round(ARTEFACTS * self.background))


class Evaluation:
    """Lives through the nights of each seed: a night to get used to it, then those that count."""

    def __init__(self, model: Model, hosts: Sequence[Host], shapes: dict[str, Shape], plan: Plan) -> None:
        model.require(Ztf.features)
        self.model, self.hosts, self.plan = model, hosts, plan
        self.relation = ErrorRelation.fit(hosts)
        self.shapes = {name: shape for name, shape in shapes.items() if not shape.bogus}
        self.bogus = next((shape for shape in shapes.values() if shape.bogus), None)
        self.suited = {name: [i for i, host in enumerate(hosts) if host.suits(shapes[name])] for name in shapes}
        for name, suited in self.suited.items():
            if not suited:
                raise EvaluationError(
                    f"none of the {len(hosts)} objects' cadences suits {name}: give more alerts, or --inject others"
                )
        self.found = {name: Found() for name in self.shapes}
        self.artefacts = Shares()
        self.scorable_a_night: list[int] = []
        self._made = 0

    def run(self, progress: Callable[[int], None]) -> None:
        """All seeds; `progress` hears of each part of a seed: its nights, its shapes."""
        done = 0
        for seed in self.plan.seeds:
            reader = Reader()
            nights = [reader.read(alerts) for alerts in self._background(seed)]
            self.scorable_a_night += [int(night.passes.sum()) for night in nights[1:]]
            done += 1
            progress(done)
            for name, shape in self.shapes.items():
                self._shape(name, shape, seed, reader, nights)
                done += 1
                progress(done)
            if self.bogus is not None:
                self._artefacts(self.bogus, seed, reader, nights)
                done += 1
                progress(done)

    @property
    def parts(self) -> int:
        """What `progress` counts to."""
        return len(self.plan.seeds) * (1 + len(self.found) + (self.bogus is not None))

    def _background(self, seed: int) -> Iterable[list[Simulated]]:
        """Each night's ordinary alerts: simulated ones, and the real ones that fall to it."""
        for number in range(self.plan.nights + 1):
            night = FIRST_NIGHT + timedelta(days=number)
            alerts = list(simulate_night(seed, night, self.plan.background, 0.0))
            if self.plan.real:
                chosen = self.hosts[number :: self.plan.nights + 1]
                alerts += [alert_of(host, _shift(host, number)) for host in chosen]
            yield sorted(alerts, key=lambda alert: alert.event_time)

    def _inject(self, name: str, shape: Shape, suited: Sequence[int], seed: int, night: int) -> list[Implanted]:
        """An object in each of these hosts on this night: the same whatever else is injected, but for its ids."""
        random = (np.random.default_rng([seed, night, number, *name.encode()]) for number in range(len(suited)))
        return [self._one(name, shape, self.hosts[i], rng, night) for i, rng in zip(suited, random, strict=True)]

    def _one(self, name: str, shape: Shape, host: Host, rng: np.random.Generator, night: int) -> Implanted:
        self._made += 1
        key = object_name(INJECTED_NIGHT, INJECTED_NIGHT.toordinal() % 8000 * 1_000_000 + self._made)
        candid = FIRST_CANDID + self._made * 1_000
        return implant(rng, host, shape, self.relation, key, candid, name, _shift(host, night))

    def _hosts(self, name: str, seed: int, night: int, copies: int) -> list[int]:
        suited = self.suited[name]
        rng = np.random.default_rng([seed, night, *name.encode()])
        return [suited[i] for i in rng.choice(len(suited), copies, replace=copies > len(suited)).tolist()]

    def _shape(self, name: str, shape: Shape, seed: int, reader: Reader, nights: list[Alerts]) -> None:
        found, chance = self.found[name], np.random.default_rng([seed, *name.encode()])
        begun = self.model.ensemble()
        reader.scores(begun, nights[0].take(nights[0].passes), chance)
        ensemble, state = self.model.ensemble(), begun.to_arrays()
        objects: list[Implanted] = []
        for control in (False, True):
            ensemble.restore(state)
            for night in range(1, self.plan.nights + 1):
                chosen = self._hosts(name, seed, night, self.plan.copies)
                added = ("control", NOTHING) if control else (name, shape)
                made = self._inject(*added, chosen, seed, night)
                tonight = [alert for one in made for alert in one.alerts[len(one.alerts) - one.tonight :]]
                mixed = nights[night].mixed(reader.read(tonight)) if tonight else nights[night]
                heard = mixed.take(mixed.passes)
                scores = reader.scores(ensemble, heard, chance)
                wanted = np.array([reader.number(one.alerts[-1].key) if one.alerts else -1 for one in made], np.int64)
                scorable = np.isin(wanted, heard.owners).tolist()
                if control:
                    found.control += ranks(scores[OURS], heard.owners, wanted).tolist()
                    found.control_scorable += scorable
                    continue
                for method in METHODS:
                    found.rank[method] += ranks(scores[method], heard.owners, wanted).tolist()
                found.scorable += scorable
                found.host += chosen
                found.seed += [seed] * len(made)
                objects += made
        self._replay(found, objects, reader, nights, ensemble, state, chance)

    def _replay(
        self,
        found: Found,
        objects: list[Implanted],
        reader: Reader,
        nights: list[Alerts],
        ensemble: Ensemble,
        state: dict[str, NDArray[np.generic]],
        chance: np.random.Generator,
    ) -> None:
        """Each alert of each object by itself, as the next after the last night without anything injected."""
        ensemble.restore(state)
        for night in nights[1:]:
            heard = night.take(night.passes)
            scores = reader.scores(ensemble, heard, chance)
        bars = {method: entry(best_scores(scores[method], heard.owners)[1], BEST) for method in METHODS}
        after = ensemble.to_arrays()
        alerts = [alert for one in objects for alert in one.alerts]
        points = np.array([count for one in objects for count in one.points], np.int64)
        whose = np.repeat(np.arange(len(objects)), [len(one.alerts) for one in objects])
        probes = reader.read(alerts)
        probes = probes.take(probes.passes)
        values: dict[str, list[float]] = {method: [] for method in METHODS}
        for row in range(len(probes.jd)):
            ensemble.restore(after)
            one = reader.scores(ensemble, probes.take(np.array([row])), chance)
            for method in METHODS:
                values[method].append(float(one[method][0]))
        seen, owner, all_of_them = points[probes.index], whose[probes.index], np.arange(len(objects))
        for method in METHODS:
            hits = np.array(values[method]) > bars[method]
            found.first_top[method] += first_hits(seen, hits, owner, all_of_them).tolist()
        found.first_alarm += first_hits(seen, np.array(values[OURS]) > ALARM, owner, all_of_them).tolist()
        found.reached += [max(one.points, default=0) for one in objects]

    def _artefacts(self, shape: Shape, seed: int, reader: Reader, nights: list[Alerts]) -> None:
        name = "artefact"
        chance = np.random.default_rng([seed, *name.encode()])
        mixed = [nights[0]]
        injected = []
        for night in range(1, self.plan.nights + 1):
            chosen = self._hosts(name, seed, night, self.plan.artefacts)
            made = self._inject(name, shape, chosen, seed, night)
            alerts = [alert for one in made for alert in one.alerts]
            injected.append(np.array([reader.number(alert.key) for alert in alerts], np.int64))
            mixed.append(nights[night].mixed(reader.read(alerts)) if alerts else nights[night])
        for gate, shares in self.artefacts.share.items():
            ensemble = self.model.ensemble()
            for night, alerts_of_night in enumerate(mixed):
                heard = alerts_of_night.take(alerts_of_night.passes) if gate == "gate" else alerts_of_night
                scores = reader.scores(ensemble, heard, chance)
                for method in METHODS if night else ():
                    best = top(scores[method], heard.owners, BEST)
                    shares[method].append(float(np.isin(best, injected[night - 1]).mean()))
        self.artefacts.seed += [seed] * self.plan.nights


def _shift(host: Host, number: int) -> float:
    """Whole days from the host's night to the evaluation's: the time of day stays as it was."""
    night = midnight(FIRST_NIGHT + timedelta(days=number)) + NIGHT_STARTS
    return float(np.floor(night) - np.floor(host.jd[-1]))
