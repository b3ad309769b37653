"""Features of any stream of events with a key: the numbers, and how far they are from what its key usually does.

Nothing here is made for one stream: a `Plan` names numbers, categories and the entities of an event (the key first,
then others such as a terminal), and the groups of features that are wanted, in this order:

- `value`: the numbers as they are, infinite ones missing;
- `rarity`: of each category's value in the partition, bits, by counts of which half is forgotten in 100,000 events;
- `hour`, `weekday` (0 = Monday), UTC;
- then of each entity, all of it as it was before the event: `since`, ln(1 + s) since its last event, 0 for a late one;
  `count`, its events, decayed with each half-life; of each number `mean` and `sum` with each half-life, `z`, against
  its own running mean and standard deviation, clipped to ±20, and `ratio` to that mean, clipped to ±1000; `excess`
  with each half-life: decayed z-scores, those below 0 as 0 and at most 5, over decayed events and a half;
- and where labels are known: `risk` with each half-life, decayed anomalies over decayed labels and a half; `streak`:
  the share of anomalies among the last labels, the newest weighing a half, and a fifth; and since when all labels were
  alike, in days, negative where they were ordinary;
- `new`: 1 if a category, or another entity, isn't among the key's last distinct values.

Missing (NaN) is what is made of a null, or of a history that there isn't. With fewer than three observations z is 0 and
ratio 1. What the key is called is never a feature.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..entities import LIFETIME, Entities, grown
from ..errors import ModelError
from ..keyed import MAX_COUNT, KeyedState, read_array
from .generic_kernel import DAY, LAST_TIME, SHARES, STREAK, Shape, entity_rows, rarity, width

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

Group = Literal[
    "value",
    "rarity",
    "hour",
    "weekday",
    "since",
    "count",
    "mean",
    "sum",
    "z",
    "ratio",
    "excess",
    "risk",
    "streak",
    "new",
]
GROUPS: tuple[Group, ...] = get_args(Group)
VALUES_KEPT = 4096  # distinct values of a category that are counted: 160 KB each when full
# 2^64 / golden ratio: keys XOR its multiples keep equal names of two kinds of entities apart.
_KIND_SALT = 0x9E3779B97F4A7C15
_THURSDAY = 3  # 1970-01-01, counted from Monday
_UNITS_OF_TIME = ((DAY, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
MOST_TOTAL = 1e6  # faded counts stay below 100,000 / ln 2


@dataclass(frozen=True)
class Plan:
    """What to make features of. half_lives in s; `resolution` of each number: the least difference that means anything.

    >>> plan = Plan(("amount",), ("channel",), ("customer", "shop"), half_lives=(604_800.0,), units={"amount": "EUR"})
    >>> [f"{name} [{unit}]" for name, unit in zip(plan.features, plan.units_of_features, strict=True)][5:10]
    ['customer: events over 7 d [count]', 'customer: mean amount over 7 d [EUR]', \
'customer: sum of amount over 7 d [EUR]', 'customer: z-score of amount [standard deviation]', \
'customer: amount over its mean [1]']
    """

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    entities: tuple[str, ...]
    half_lives: tuple[float, ...] = (3_600.0, DAY, 7 * DAY)
    groups: tuple[str, ...] = GROUPS
    resolution: tuple[float, ...] = ()  # none means 0
    units: Mapping[str, str] | None = None
    remembered: int = 16
    labelled: bool = False  # whether labels come, so that entities have risks

    @property
    def novelties(self) -> tuple[str, ...]:
        """What can be new to the key."""
        return (*self.categories, *self.entities[1:])

    @property
    def shape(self) -> Shape:
        """The sizes, as kernels take them."""
        entities, numbers, half_lives = len(self.entities), len(self.numbers), len(self.half_lives)
        risks = half_lives if self.labelled else 0
        excesses = half_lives if "excess" in self.groups else 0
        streaks = STREAK if self.labelled and "streak" in self.groups else 0
        return Shape(entities, numbers, half_lives, len(self.novelties), self.remembered, risks, excesses, streaks)

    @cached_property
    def all(self) -> tuple[tuple[str, str, str], ...]:
        """(group, name, unit) of every column that is computed."""
        of = self.units or {}
        made = [("value", name, of.get(name, "1")) for name in self.numbers]
        made += [("rarity", f"{name}: rarity", "bit") for name in self.categories]
        made += [("hour", "hour of day", "h"), ("weekday", "day of week", "d after Monday")]
        for entity in self.entities:
            made.append(("since", f"{entity}: log time since its last event", "ln s"))
            spans = [spoken(one) for one in self.half_lives]
            made += [("count", f"{entity}: events over {span}", "count") for span in spans]
            for name in self.numbers:
                unit = of.get(name, "1")
                for span in spans:
                    made.append(("mean", f"{entity}: mean {name} over {span}", unit))
                    made.append(("sum", f"{entity}: sum of {name} over {span}", unit))
                made.append(("z", f"{entity}: z-score of {name}", "standard deviation"))
                made.append(("ratio", f"{entity}: {name} over its mean", "1"))
                if self.shape.excesses:
                    sd = "standard deviation"
                    made += [("excess", f"{entity}: excess of {name} over {span}", sd) for span in spans]
            if self.labelled:
                made += [("risk", f"{entity}: risk over {span}", "1") for span in spans]
            if self.shape.streaks:
                made += [("streak", f"{entity}: risk by its last {round(1 / one)} labels", "1") for one in SHARES]
                made.append(("streak", f"{entity}: time since its labels turned", "d, < 0 ordinary"))
        return (*made, *(("new", f"{self.entities[0]}: {name} is new", "0 or 1") for name in self.novelties))

    @cached_property
    def chosen(self) -> tuple[int, ...]:
        """Which of `all` are features."""
        return tuple(i for i, (group, _, _) in enumerate(self.all) if group in self.groups)

    @property
    def features(self) -> tuple[str, ...]:
        """The features' names."""
        return tuple(self.all[i][1] for i in self.chosen)

    @property
    def units_of_features(self) -> tuple[str, ...]:
        """Their units."""
        return tuple(self.all[i][2] for i in self.chosen)


def spoken(seconds: float) -> str:
    """A time in its largest whole unit.

    >>> spoken(604_800.0), spoken(5_400.0), spoken(0.5)
    ('7 d', '90 min', '0.5 s')
    """
    for size, unit in _UNITS_OF_TIME:
        if seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


class GenericFeatures:
    """The features of one partition, and the state they need: at most `capacity` of each kind of entity.

    A partition's rows depend on its events and their order, never on how they are cut into batches. As in
    `BehaviourFeatures` the least recently seen entity is forgotten first, unless whoever runs this keeps them elsewhere
    and admits `keys` to `entities`. For `salt` see `KeyedState`; `lifetime` is in events;
    `made_for` tells rows of equal size apart, where they are kept.

    >>> plan = Plan(("amount",), (), ("customer",), groups=("mean", "z"), half_lives=(DAY,))
    >>> features = GenericFeatures(plan)
    >>> keys, nothing = np.full((4, 1), 7, np.uint64), np.zeros((4, 0), np.uint64)
    >>> features.compute(keys, np.arange(4.0), np.array([[20.0], [20.0], [20.0], [30.0]]), nothing).round(3).tolist()
    [[nan, 0.0], [20.0, 0.0], [20.0, 0.0], [20.0, 10.0]]
    """

    def __init__(
        self, plan: Plan, capacity: int = 200_000, *, salt: int = 0, lifetime: int = LIFETIME, made_for: str = ""
    ) -> None:
        self.plan, self._row = plan, f"row{made_for}"
        kinds = len(plan.entities)
        row = np.dtype([(self._row, np.float64, (int(width(plan.shape)),))])
        self.entities = Entities(capacity * kinds, row, lifetime * kinds, salt)
        self._values = [KeyedState(VALUES_KEPT, salt) for _ in plan.categories]
        self._counts = [np.zeros(one.room) for one in self._values]
        self._last = [np.zeros(one.room, np.int64) for one in self._values]
        self._totals = np.zeros((len(plan.categories), 2))
        self._decay = np.array([math.log(2) / one for one in plan.half_lives])
        self._resolution = np.array(plan.resolution or (0.0,) * len(plan.numbers), np.float64)
        self._chosen = np.array(plan.chosen, np.int64)

    @property
    def state_bytes(self) -> int:
        """Memory of the state, bytes."""
        values = sum(one.state_bytes for one in self._values) + self._totals.nbytes
        return self.entities.state_bytes + values + sum(one.nbytes for one in (*self._counts, *self._last))

    def keys(self, entities: Keys) -> Keys:
        """uint64[n * kinds]: what `entities` are to be asked for, event by event, of names' hashes [n, kinds]."""
        return _apart(entities).ravel()

    def compute(
        self, entities: Keys, time: Floats, numbers: Floats, categories: Keys, labels: Floats | None = None
    ) -> Floats:
        """The features float64[n, f] of n events, each from the state before it; the state then learns it.

        entities [n, kinds] and categories [n, c] are hashes, 0 = null; time [n] is in seconds since the epoch, UTC;
        numbers [n, m]. Where labels [n] are 1 or 0 and not NaN, a row is no event but what is now known of an earlier
        one of the same entities: it teaches risks, and is not in the result. Raises ModelError for another shape.
        """
        plan, n = self.plan, len(entities)
        labels = np.full(n, np.nan) if labels is None else labels
        shapes = {
            "entities": (entities, (n, len(plan.entities))),
            "time": (time, (n,)),
            "numbers": (numbers, (n, len(plan.numbers))),
            "categories": (categories, (n, len(plan.categories))),
            "labels": (labels, (n,)),
        }
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise ModelError(f"is {list(array.shape)}, expected {list(shape)}", where=name)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        histories = self._histories(entities, time, numbers, categories, labels)
        events = np.isnan(labels)
        numbers, categories, time = numbers[events], categories[events], time[events]
        matrix = np.empty((len(time), len(plan.all)))
        matrix[:, : len(plan.numbers)] = numbers
        at = len(plan.numbers)
        for category in range(len(plan.categories)):
            matrix[:, at + category] = self._rarity(category, _plain(categories[:, category], np.uint64))
        at += len(plan.categories)
        now = np.where(np.abs(time) <= LAST_TIME, time, np.nan)
        matrix[:, at] = now % DAY / 3600.0
        matrix[:, at + 1] = (np.floor(now / DAY) + _THURSDAY) % 7
        matrix[:, at + 2 :] = histories[events]
        return np.ascontiguousarray(matrix[:, self._chosen])

    def _histories(self, entities: Keys, time: Floats, numbers: Floats, categories: Keys, labels: Floats) -> Floats:
        plan = self.plan
        self.entities.reserve(entities.size)
        floats = self.entities.rows[self._row]
        made = np.empty((len(entities), len(plan.all) - len(plan.numbers) - len(plan.categories) - 2))
        entity_rows(
            self.entities.slots,
            floats,
            floats.view(np.uint64),
            plan.shape,
            self._decay,
            self._resolution,
            _plain(_apart(entities), np.uint64),
            _plain(time, np.float64),
            _plain(numbers, np.float64),
            _plain(np.column_stack([categories, entities[:, 1:]]), np.uint64),
            _plain(labels, np.float64),
            made,
        )
        return made

    def _rarity(self, category: int, values: Keys) -> Floats:
        state = self._values[category]
        room = state.reserve(len(values))
        self._counts[category] = grown(self._counts[category], room)
        self._last[category] = grown(self._last[category], room)
        out = np.empty(len(values))
        rarity(state.slots, self._counts[category], self._last[category], self._totals[category], values, out)
        return out

    def shared(self) -> dict[str, NDArray[Any]]:
        """What belongs to no single entity, as plain arrays: how often each value of the categories was seen."""
        arrays: dict[str, NDArray[Any]] = {"totals": self._totals.copy()}
        for i, state in enumerate(self._values):
            order = state.order()
            arrays |= state.to_arrays(f"values{i}_")
            arrays |= {f"values{i}_count": self._counts[i][order], f"values{i}_last": self._last[i][order]}
        return arrays

    def restore_shared(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `shared` gave, copied. Raises ModelError, naming the array, if anything is amiss."""
        totals = read_array(arrays, "totals", np.float64, self._totals.shape, 0, MAX_COUNT).copy()
        if (totals[:, 0] > MOST_TOTAL).any():
            raise ModelError("holds more than counts can reach: save the state again", where="totals")
        restored = []
        for i, old in enumerate(self._values):
            state = KeyedState.from_arrays(arrays, f"values{i}_", int(old.slots.salt))
            if state.capacity != VALUES_KEPT:
                raise ModelError(f"should be {VALUES_KEPT}: save the state again", where=f"values{i}_capacity")
            counts, last = np.zeros(state.room), np.zeros(state.room, np.int64)
            tracked, seen = state.tracked, int(totals[i, 1])
            counts[:tracked] = read_array(arrays, f"values{i}_count", np.float64, (tracked,), 0, MOST_TOTAL)
            last[:tracked] = read_array(arrays, f"values{i}_last", np.int64, (tracked,), 0, seen)
            restored.append((state, counts, last))
        self._totals = totals
        self._values = [state for state, _, _ in restored]
        self._counts = [counts for _, counts, _ in restored]
        self._last = [last for _, _, last in restored]


def _apart(entities: Keys) -> Keys:
    """Hashes of which no two kinds of entities share one by being called the same; null stays null."""
    salt = np.array([(kind * _KIND_SALT) % 2**64 for kind in range(entities.shape[1])], np.uint64)
    apart = np.where(entities == 0, np.uint64(0), entities ^ salt)
    return np.asarray(apart, np.uint64)


def _plain(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """As the kernels were compiled for: for another layout, or read-only, they would be compiled again."""
    return np.require(array, dtype, ["C", "A", "W"])
