"""Half-space trees: random splits that count, window by window, where the events fall; online and without labels."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import ModelError, RowRefused
from .halfspace_guard import WINSOR_SPREADS, checked_guard, new_guard, score_learn_guarded
from .halfspace_kernel import Floats, Record, score_learn_river, score_learn_robust
from .halfspace_trail import Trail

# Longer than most files: it holds every way into a model (parameters, River, arrays, state) and out again, and each
# way in must leave nothing but arrays that the kernels can trust.

Array = NDArray[Any]
Mode = Literal["robust", "river"]

# 32 trees of height 16, where River's own objects take a gigabyte: more is a mistyped height.
MOST_NODES, MOST_HEIGHT = 1 << 22, 20
# Sums of two counts stay exact in int32.
LONGEST_WINDOW = 1 << 20
# The table of logarithms has (window + 1) (height + 1) of them: 8 MB, enough for windows of 116,000 at height 8.
MOST_LOGARITHMS = 1 << 20
# Names of features, a line each; the 52 of a light-curve model take 1 kB.
NAMES_BYTES = 1 << 20
# The range of float32, which the frozen forest has too. Squares of such values, the running variance, can't overflow.
LARGEST = float(np.finfo(np.float32).max)
# An event's share of a trail: a leaf a tree, and a window's masses every window. 76 cells of 4 bytes for 25 trees of
# height 8, windows of 250; 6,600 at height 15. A property of the model: how batches are cut can't decide it.
MOST_TRAIL_CELLS = 1 << 13
NO_RECORD = np.empty((0, 0), np.int32), np.empty(0, np.int64), np.empty((0, 0, 0), np.int32)
# A count of events that float64 holds exactly; at a million events a second it lasts 285 years.
MOST_EVENTS = 1 << 53

TREE_ARRAYS = ("features", "window_size", "feature", "threshold")


class HalfSpaceTrees:
    """River's half-space trees (Tan, Ting & Liu 2011) as arrays: score first, learn after, event by event.

    Two modes, in both higher = more anomalous, in both silent (NaN) during the first window:

    - `river`: bit-equal to River's `anomaly.HalfSpaceTrees()`, or to `preprocessing.MinMaxScaler() | HalfSpaceTrees()`
      if `scaled`. Within [0, 1], but normal events are far above 0. A value beyond the limits falls into the outermost
      cell: 1e9 *ties* with any point of that corner; with the scaler it squeezes all later events for ever.
    - `robust`: each feature is measured against its running mean and spread (half-life 1,024 events) and squashed into
      (0, 1); the score is minus the trees' mean of log2(1 + r 2^depth), where r is the mass of the walk's last node.
      At most 0, which means that no tree has seen anything near. A row of 1e9s scores above all normal ones (a single
      1e9 among many features need not) and swells the spread: beside values of order 1, a feature then says nothing for
      some 40,000 events. So clip before (`prepare.Reference`).

    Two options of `robust` are for streams with bursts of anomalies, best with windows longer than a burst
    (`halfspace_guard`): with `winsor`, the scaling learns values as if they were three spreads off at most; with
    `guard`, the events with the highest 2 % of the scores are scored, but not learned.

    Not for two threads at once: `copy` gives each partition counts of its own.

    >>> trees = HalfSpaceTrees.build(["flux", "color"], window_size=50, seed=1)
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> X[400] = 9.0, -9.0
    >>> scores = trees.score_learn(X)
    >>> int(np.isnan(scores).sum()), int(np.nanargmax(scores))
    (50, 400)
    """

    def __init__(
        self,
        features: Sequence[str],
        feature: Array,
        threshold: Array,
        window_size: int,
        mode: Mode = "robust",
        scaled: bool = False,
        log2_mass: Array | None = None,
        *,
        winsor: bool = False,
        guard: bool = False,
    ) -> None:
        """Trees that have learned nothing; usually made by `build`, `from_river` or `from_arrays`.

        `feature` int32[T, 2^h - 1], columns of `features`, and `threshold` float64 of that shape are the inner nodes in
        heap order: the children of i are 2i + 1, for values below the threshold, and 2i + 2. Raises `ModelError`.
        """
        if mode not in ("robust", "river") or (scaled and mode == "robust"):
            raise ModelError(
                f"{mode!r}, scaled={scaled}: choose robust, river, or river with scaled=True", where="mode"
            )
        if mode != "robust" and (winsor or guard):
            raise ModelError(f"River has neither winsor nor guard: {mode} can't have them", where="mode")
        if feature.ndim != 2 or feature.size == 0 or feature.shape[1] & (feature.shape[1] + 1):
            raise ModelError(f"has shape {feature.shape}, expected [trees, 2^height - 1]", where="feature")
        self.features = _checked_names(features)
        self.mode, self.scaled, self.window_size = mode, scaled, window_size
        self.winsor, self.guard = winsor, guard
        self.n_trees, self.height = len(feature), int(feature.shape[1]).bit_length()
        _check_size(self.n_trees, self.height, window_size)
        self.feature = _checked(feature, "feature", np.int32, feature.shape, 0, len(self.features) - 1)
        self.threshold = _checked(threshold, "threshold", np.float64, feature.shape, -LARGEST, LARGEST)
        self._log2_mass = np.zeros((0, 0))
        if mode == "robust":
            self._log2_mass = _checked_table(log2_mass, window_size, self.height)
        for shared in (self.feature, self.threshold, self._log2_mass):
            shared.setflags(write=False)  # copies of this model use the same ones
        self._learned = 0
        self._guard = new_guard()
        self._masses = np.zeros((2, self.n_trees, 2 ** (self.height + 1) - 1), np.int32)
        self._scale = np.zeros((2, len(self.features)))  # mean, variance
        if mode == "river":
            self._scale[:] = [[np.inf], [-np.inf]]  # low, high, of nothing yet

    @classmethod
    def build(
        cls,
        features: Sequence[str],
        mode: Mode = "robust",
        *,
        n_trees: int | None = None,
        height: int = 8,
        window_size: int = 250,
        limits: Mapping[str, tuple[float, float]] | None = None,
        seed: int = 0,
        scaled: bool = False,
        winsor: bool = False,
        guard: bool = False,
    ) -> Self:
        """New trees, the very ones that River (imported here) builds from these parameters.

        `features` names the columns of the matrix to come, in their order. `n_trees` is 25 for robust, River's own 10
        for river. `limits` are River's: the range of a feature *as the trees see it*, (0, 1) if not given, which is
        right for robust and for scaled. Raises `ModelError`.
        """
        n_trees = n_trees if n_trees is not None else 25 if mode == "robust" else 10
        limits = dict(limits or {})
        _check_size(n_trees, height, window_size)
        if not limits.keys() <= set(_checked_names(features)):
            raise ModelError(f"{sorted(limits.keys() - set(features))} are not among the features", where="limits")
        if not all(-LARGEST <= low < high <= LARGEST for low, high in limits.values()):
            raise ModelError("must be pairs of finite numbers, the lower one first", where="limits")
        hst = _river_trees(features, n_trees, height, window_size, limits, seed)
        feature, threshold, _, _ = _flatten(hst, features)
        return cls(features, feature, threshold, window_size, mode, scaled, winsor=winsor, guard=guard)

    @classmethod
    def from_river(cls, detector: Any, features: Sequence[str]) -> Self:
        """A River `HalfSpaceTrees`, or `MinMaxScaler() | HalfSpaceTrees`, with all that it has learned.

        `features` names the columns of the matrix to come, in their order. Raises `ModelError`.
        """
        from river import anomaly, compose, preprocessing

        *scalers, hst = detector.steps.values() if isinstance(detector, compose.Pipeline) else [detector]
        if type(hst) is not anomaly.HalfSpaceTrees or len(scalers) > 1:
            raise ModelError(f"{type(detector).__name__} is neither HalfSpaceTrees nor MinMaxScaler | HalfSpaceTrees")
        for scaler in scalers:
            if type(scaler) is not preprocessing.MinMaxScaler or getattr(scaler, "window_size", None) is not None:
                raise ModelError(f"{scaler} is not a MinMaxScaler over the whole stream")
        if not hst.trees:
            raise ModelError("River's trees do not exist before the first learn_one: let it learn, or use build")
        feature, threshold, finished, latest = _flatten(hst, features)
        model = cls(features, feature, threshold, hst.window_size, "river", bool(scalers))
        learned = hst.counter if hst._first_window else hst.window_size + hst.counter  # noqa: SLF001 (no public name)
        state = {"learned": np.array(learned, np.int64), "latest": latest, "finished": finished}
        for scaler in scalers:
            state["low"] = np.array([scaler.min[name].get() for name in features], np.float64)
            state["high"] = np.array([scaler.max[name].get() for name in features], np.float64)
        model.restore(state)
        return model

    def to_river(self) -> Any:
        """The River object, for `scaled` the pipeline, that scores and learns from here on as this one does.

        Its `limits` and `seed` say nothing: they only shape trees, and these exist. Raises `ModelError` for robust.
        """
        if self.mode != "river":
            raise ModelError(f"River has no {self.mode} mode: only river can go back", where="mode")
        from river import preprocessing

        hst = _river_trees(self.features, self.n_trees, self.height, self.window_size, {}, 0)
        state = self.state()
        for t, tree in enumerate(hst.trees):
            for i, node in enumerate(_breadth_first(tree, self.height)):
                node.r_mass, node.l_mass = int(state["finished"][t, i]), int(state["latest"][t, i])
                if i < self.feature.shape[1]:
                    node.feature, node.threshold = self.features[self.feature[t, i]], float(self.threshold[t, i])
        hst.counter = self._learned % self.window_size
        hst._first_window = not self.ready  # noqa: SLF001 (no public name)
        if not self.scaled:
            return hst
        scaler = preprocessing.MinMaxScaler()
        for name, low, high in zip(self.features, *self._scale.tolist(), strict=True):
            scaler.min[name].update(low)
            scaler.max[name].update(high)
        return scaler | hst

    @property
    def n_features(self) -> int:
        """Number of columns that `score_learn` expects."""
        return len(self.features)

    @property
    def ready(self) -> bool:
        """Whether the first window is full, so that the next event gets a score."""
        return self._learned >= self.window_size

    def score_learn(self, X: Floats) -> Floats:
        """Scores float64[n] of events float64[n, f] (C order, columns as `features`), each scored, then learned.

        NaN for events of the first window. How a stream is cut into calls changes no bit. Values must be finite and
        within float32's range; missing ones are imputed before. Raises `RowRefused` for a value, `ModelError` for a
        matrix of another kind, and learns nothing then.
        """
        return self._score_learn(X, NO_RECORD)

    def score_learn_traced(self, X: Floats) -> tuple[Floats, Trail | None]:
        """As `score_learn`, and what it takes to say later which features a score is from.

        None if the trees are so many, or the window so short, that this would take more than 32 kB an event.
        """
        nodes = self._masses[0].size
        if self.n_trees + nodes // self.window_size > MOST_TRAIL_CELLS:
            return self._score_learn(X, NO_RECORD), None
        windows = (self._learned % self.window_size + max(len(X) - 1, 0)) // self.window_size + 1
        leaves, during = np.empty((len(X), self.n_trees), np.int32), np.empty(len(X), np.int64)
        record = leaves, during, np.empty((windows, *self._masses.shape[1:]), np.int32)
        scores = self._score_learn(X, record)
        return scores, Trail(self.feature, self._log2_mass, self.n_features, self.window_size, *record, scores)

    def _score_learn(self, X: Floats, record: Record) -> Floats:
        if X.dtype != np.float64 or X.ndim != 2 or X.shape[1] != self.n_features or not X.flags.c_contiguous:
            given = f"{X.dtype}{list(X.shape)}, C order {X.flags.c_contiguous}"
            raise ModelError(f"is {given}, expected float64[n, {self.n_features}] in C order", where="X")
        usable = np.abs(X) <= LARGEST
        if not usable.all():
            row, column = np.argwhere(~usable)[0].tolist()
            problem = f"{self.features[column]} is {X[row, column]}, no finite float32: impute missing values before"
            raise RowRefused(problem, row=row, column=column)
        scores = np.empty(len(X))
        events = X.view()
        events.setflags(write=False)  # numba compiles once more for read-only input: let all input be that
        trees = self.feature, self.threshold, self._masses, self.window_size, self._learned
        if self.winsor or self.guard:
            options = self.winsor, self.guard, self._guard
            self._learned = score_learn_guarded(events, *trees, self._scale, self._log2_mass, *options, scores, record)
        elif self.mode == "robust":
            self._learned = score_learn_robust(events, *trees, self._scale, self._log2_mass, scores, record)
        else:
            self._learned = score_learn_river(events, *trees, self.scaled, self._scale, scores, record)
        return scores

    def state(self) -> dict[str, Array]:
        """What learning changes, as copies; equal states have equal arrays.

        `learned` int64[]: events so far, hence the window's counter (`learned % window_size`) and whether it is the
        first one (`learned < window_size`); `latest`, `finished` int32[T, 2^(h+1) - 1]: masses of the window going on,
        and of the one before it, which scores; `mean`, `variance` (robust) or `low`, `high` (scaled) float64[f];
        `guard` float64[4], if there is one: events it judged, mean and variance of their scores, and its level.
        """
        current = self._learned // self.window_size % 2
        state: dict[str, Array] = {
            "learned": np.array(self._learned, np.int64),
            "latest": self._masses[current].copy(),
            "finished": self._masses[1 - current].copy(),
        }
        guard = {"guard": self._guard.copy()} if self.guard else {}
        return state | dict(zip(_scale_names(self.mode, self.scaled), self._scale.copy(), strict=False)) | guard

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a `state`, taken as hostile. Raises `ModelError`, and then nothing has changed."""
        _check_keys(state, _state_names(self.mode, self.scaled, self.guard))
        shape, window = self._masses.shape[1:], self.window_size
        learned = int(_checked(state["learned"], "learned", np.int64, (), 0, MOST_EVENTS))
        latest = _checked(state["latest"], "latest", np.int32, shape, 0, window)
        finished = _checked(state["finished"], "finished", np.int32, shape, 0, window)
        _check_counts(latest, learned % window, "latest")
        _check_counts(finished, window if learned >= window else 0, "finished")
        scale = self._checked_scale(state)
        guard = checked_guard(state, learned, window, self.height) if self.guard else new_guard()
        masses = np.stack([latest, finished] if learned // window % 2 == 0 else [finished, latest])
        self._learned, self._masses, self._scale, self._guard = learned, masses, scale, guard

    def to_arrays(self) -> dict[str, Array]:
        """All that is durable, numbers only: the trees, for robust the table of logarithms, and `state`.

        `features` uint8: the names in UTF-8, one a line; `window_size` int64[]; `feature` and `threshold`; `log2_mass`
        float64[window + 1, h + 1]; `winsor` float64[], how many spreads count. Which arrays there are tells the mode
        and the options.
        """
        trees: dict[str, Array] = {
            "features": np.frombuffer("\n".join(self.features).encode(), np.uint8).copy(),
            "window_size": np.array(self.window_size, np.int64),
            "feature": self.feature.copy(),
            "threshold": self.threshold.copy(),
        }
        table = {"log2_mass": self._log2_mass.copy()} if self.mode == "robust" else {}
        winsor = {"winsor": np.array(WINSOR_SPREADS)} if self.winsor else {}
        return trees | table | winsor | self.state()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The model that `to_arrays` gave, with all it had learned. Input is taken as hostile. Raises `ModelError`."""
        mode: Mode = "robust" if "log2_mass" in arrays else "river"
        winsor, guard = "winsor" in arrays, "guard" in arrays
        names = tuple(name for name in ("log2_mass", "winsor") if name in arrays)
        scaled = mode == "river" and "low" in arrays
        _check_keys(arrays, (*TREE_ARRAYS, *names, *_state_names(mode, scaled, guard)))
        if winsor:
            _checked(arrays["winsor"], "winsor", np.float64, (), WINSOR_SPREADS, WINSOR_SPREADS)
        window_size = int(_checked(arrays["window_size"], "window_size", np.int64, (), 1, LONGEST_WINDOW))
        features, log2_mass = _read_names(arrays["features"]), arrays.get("log2_mass")
        trees = features, arrays["feature"], arrays["threshold"], window_size, mode, scaled, log2_mass
        model = cls(*trees, winsor=winsor, guard=guard)
        model.restore({name: arrays[name] for name in _state_names(mode, scaled, guard)})
        return model

    def copy(self) -> Self:
        """The same trees, with counts and scaling of their own that start from what these have learned."""
        twin = copy.copy(self)
        twin.restore(self.state())  # into new arrays
        return twin

    def _checked_scale(self, state: Mapping[str, Array]) -> Floats:
        names = _scale_names(self.mode, self.scaled)
        if not names:
            return self._scale
        first, second = (_checked(state[name], name, np.float64, (self.n_features,), -np.inf, np.inf) for name in names)
        if self.mode == "robust":
            # What values within ±LARGEST can lead to, with room for rounding.
            fine = (np.abs(first) <= 2 * LARGEST) & (0 <= second) & (second <= (4 * LARGEST) ** 2)
        else:
            unseen = (first == np.inf) & (second == -np.inf)
            fine = unseen | ((-LARGEST <= first) & (first <= second) & (second <= LARGEST))
        if not fine.all():
            raise ModelError("hold values that no events lead to", where=" and ".join(names))
        return np.stack([first, second])


def _scale_names(mode: Mode, scaled: bool) -> tuple[str, ...]:
    return ("mean", "variance") if mode == "robust" else ("low", "high") if scaled else ()


def _state_names(mode: Mode, scaled: bool, guard: bool) -> tuple[str, ...]:
    return "learned", "latest", "finished", *_scale_names(mode, scaled), *(("guard",) if guard else ())


def _river_trees(
    features: Sequence[str], n_trees: int, height: int, window: int, limits: dict[Any, tuple[float, float]], seed: int
) -> Any:
    """River's object once it has built its trees, which it does at the first event: its masses have counted that."""
    from river import anomaly

    hst: Any = anomaly.HalfSpaceTrees(n_trees, height, window, limits, seed)
    hst.learn_one(dict.fromkeys(features, 0.0))
    return hst


def _breadth_first(tree: Any, height: int) -> list[Any]:
    """River's nodes in heap order, which for a full tree is breadth first."""
    nodes = [tree]
    for i in range(2**height - 1):
        nodes.extend(nodes[i].children)
    return nodes


def _flatten(hst: Any, features: Sequence[str]) -> tuple[Array, Array, Array, Array]:
    """River's trees as `feature`, `threshold`, `finished`, `latest`. River sorts features by name: map by name."""
    columns = {name: column for column, name in enumerate(features)}
    trees = [_breadth_first(tree, hst.height) for tree in hst.trees]
    splits = [nodes[: 2**hst.height - 1] for nodes in trees]
    try:
        feature = np.array([[columns[node.feature] for node in nodes] for nodes in splits], np.int32)
    except KeyError as missing:
        raise ModelError(f"lack {missing}, which the trees split on", where="features") from missing
    threshold = np.array([[node.threshold for node in nodes] for nodes in splits], np.float64)
    finished = np.array([[node.r_mass for node in nodes] for nodes in trees], np.int32)
    latest = np.array([[node.l_mass for node in nodes] for nodes in trees], np.int32)
    return feature, threshold, finished, latest


def _checked(array: Array, where: str, dtype: DTypeLike, shape: tuple[int, ...], least: float, most: float) -> Array:
    """A copy of our own, in C order, of what has this type, shape and range (NaN is out of any)."""
    if array.dtype != dtype or array.shape != shape:
        raise ModelError(f"is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}{list(shape)}", where=where)
    if not ((least <= array) & (array <= most)).all():
        raise ModelError(f"has values outside {least} to {most}", where=where)
    return np.array(array, order="C")


def _checked_table(log2_mass: Array | None, window: int, height: int) -> Array:
    """log2(1 + r 2^depth) float64[window + 1, height + 1]; one from another maths library is kept to the bit."""
    if (window + 1) * (height + 1) > MOST_LOGARITHMS:
        most = MOST_LOGARITHMS // (height + 1) - 1
        raise ModelError(f"is {window}, expected at most {most} at height {height} if robust", where="window_size")
    if log2_mass is not None:
        log2_mass = _checked(log2_mass, "log2_mass", np.float64, (window + 1, height + 1), 0, np.inf)
    table = np.log2(1.0 + np.outer(np.arange(window + 1), 2 ** np.arange(height + 1)))
    if log2_mass is None:
        return cast(Array, table)
    if not (np.abs(log2_mass - table) <= 1e-12 * table).all():
        raise ModelError("is not log2(1 + r 2^depth)", where="log2_mass")
    return log2_mass


def _checked_names(features: Sequence[str]) -> tuple[str, ...]:
    names = tuple(features)
    if not names or len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
        raise ModelError("must be one or more different printable names", where="features")
    return names


def _read_names(text: Array) -> list[str]:
    if text.dtype != np.uint8 or text.ndim != 1 or len(text) > NAMES_BYTES:
        given = f"{text.dtype}{list(text.shape)}"
        raise ModelError(f"is {given}, expected uint8[bytes], {NAMES_BYTES} at most", where="features")
    try:
        return text.tobytes().decode().split("\n")
    except UnicodeDecodeError as error:
        raise ModelError(f"is not UTF-8: {error}", where="features") from error


def _check_size(n_trees: int, height: int, window: int) -> None:
    if n_trees < 1 or not 1 <= height <= MOST_HEIGHT or n_trees << (height + 1) > MOST_NODES:
        raise ModelError(f"{n_trees} of height {height}: at least 1, and at most {MOST_NODES} nodes", where="trees")
    if not 1 <= window <= LONGEST_WINDOW:
        raise ModelError(f"is {window}, expected 1 to {LONGEST_WINDOW}", where="window_size")


def _check_keys(arrays: Mapping[str, Array], names: Sequence[str]) -> None:
    if set(arrays) != set(names):
        raise ModelError(f"expected the arrays {sorted(names)}, got {sorted(map(str, arrays))}")
    for name in names:
        if not isinstance(arrays[name], np.ndarray):
            raise ModelError(f"is a {type(arrays[name]).__name__}, not an array", where=name)


def _check_counts(mass: Array, root: int, where: str) -> None:
    """Every count is the sum of its children's, down from `root`: true of counted events only."""
    if (mass[:, 0] != root).any() or (mass[:, : mass.shape[1] // 2] != mass[:, 1::2] + mass[:, 2::2]).any():
        raise ModelError(f"does not add up to the {root} events of its window", where=where)
