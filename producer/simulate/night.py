"""A night of ZTF-like alerts: a survey's cadence and photometry, ordinary sources, a few injected anomalies."""

from collections.abc import Iterator
from datetime import date
from itertools import islice

import numpy as np

from ..inject import SHAPES, Rng
from .cadence import Field, plan
from .event import Simulated
from .packet import Observed
from .population import ORDINARY, anomalous

FULL_NIGHT = 200_000  # alerts; a full night of ZTF has about as many
ALERTS_A_FIELD = 150
TRIES = 100
SCORABLE = 5  # detections in one band that an injected anomaly has from its first alert on

MODELS, SHARES = list(ORDINARY), np.cumsum(list(ORDINARY.values()))


def simulate_night(
    seed: int, night: date, alerts: int | None = None, anomaly_rate: float = 0.005
) -> Iterator[Simulated]:
    """The alerts of one night (UTC date), in time order; records follow the schema `ztf_like`, without cutouts.

    alerts: how many; None = 200,000, a full ZTF night. Whatever the number, they are spread over the whole night.
    anomaly_rate: share of the alerting objects that are injected anomalies (names: `inject.SHAPES`); every alert of
    such an object carries its name as `truth`, has at least 5 detections in one band and rb >= 0.55.

    A pure function of its arguments: the same call gives the same records.
    """
    wanted = FULL_NIGHT if alerts is None else alerts
    if wanted < 0 or not 0 <= anomaly_rate <= 1:
        raise ValueError(f"need alerts >= 0 and 0 <= anomaly_rate <= 1, not {alerts!r} and {anomaly_rate!r}")
    if not 2018 <= night.year <= 2041:
        raise ValueError(f"ids in ZTF's form exist for nights from 2018 to 2041, not for {night}")
    return islice(_night(seed, night, wanted, anomaly_rate), wanted)


def _night(seed: int, night: date, alerts: int, anomaly_rate: float) -> Iterator[Simulated]:
    fields = {field.number: field for field in plan(seed, night, max(12, round(alerts / ALERTS_A_FIELD)))}
    quota = -(-alerts // len(fields))
    exposures = sorted((jd, field.number, visit) for field in fields.values() for visit, jd in _tonight(field))
    alerting: dict[int, list[Observed]] = {}
    for _, number, visit in exposures:
        field = fields[number]
        if visit == field.first_tonight:
            rng = np.random.default_rng([seed, night.toordinal(), number])
            alerting[number] = list(_objects(rng, field, night, quota, anomaly_rate))
        yield from (each.alert(visit) for each in alerting[number] if each.detected[visit])
        if visit == field.jd.size - 1:
            del alerting[number], fields[number]  # a full night needs the memory of a few fields only


def _tonight(field: Field) -> Iterator[tuple[int, float]]:
    return ((visit, float(field.jd[visit])) for visit in range(field.first_tonight, field.jd.size))


def _objects(rng: Rng, field: Field, night: date, quota: int, anomaly_rate: float) -> Iterator[Observed]:
    """Objects of one field that alert tonight, until they make `quota` alerts together."""
    # An object makes at least one alert. Ids differ between nights: 26**7 of them are 8,000 nights of a million.
    first_id = night.toordinal() % 8000 * 1_000_000 + field.number * quota
    made = index = 0
    while made < quota:
        name = object_name(night, first_id + index)
        found = _injected(rng, field, name, index) if rng.random() < anomaly_rate else None
        found = found or _ordinary(rng, field, name, index)
        if found is not None:
            index += 1
            made += found.alerts
            yield found


def _ordinary(rng: Rng, field: Field, name: str, index: int) -> Observed | None:
    """An object of the ordinary sky; a model that seldom shows is tried again, so that its share comes out."""
    model = MODELS[int(np.searchsorted(SHARES, rng.random() * SHARES[-1]))]
    for _ in range(TRIES):
        found = Observed(rng, field, model(rng, field), name, index, None)
        if found.alerts:
            return found
    return None


def _injected(rng: Rng, field: Field, name: str, index: int) -> Observed | None:
    """An injected anomaly; where the field was visited too seldom to show one shape, another."""
    for truth in rng.permutation([name for name, shape in SHAPES.items() if shape.dense == field.dense]).tolist():
        for _ in range(TRIES):
            found = Observed(rng, field, anomalous(rng, field, SHAPES[truth]), name, index, truth)
            if found.alerts and found.scorable(SCORABLE):
                return found
    return None


def object_name(night: date, number: int) -> str:
    """An object id in ZTF's form: ZTF, the year, seven letters.

    >>> object_name(date(2026, 11, 21), 27)
    'ZTF26aaaaabb'
    """
    letters = ""
    for _ in range(7):
        number, letter = divmod(number, 26)
        letters = chr(ord("a") + letter) + letters
    return f"ZTF{night.year % 100:02d}{letters}"
