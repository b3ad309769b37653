"""The sliding isolation forest: its definition in plain Python, the bits of it, and what it is for."""

import math
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from skimstream.scoring.sliding import SlidingForest
from skimstream.scoring.sliding_kernel import expected_paths

Floats = NDArray[np.float64]
SMALL = {"trees": 5, "samples": 40, "window": 150, "every": 64}
BITS = 2**64 - 1


def splitmix64(key: int) -> Iterator[int]:
    """Steele, Lea & Flood 2014, section 5: the generator from this state on."""
    while True:
        key = (key + 0x9E3779B97F4A7C15) & BITS
        yield mix(key)


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & BITS
    return z ^ (z >> 31)


def expected_path(n: int) -> float:
    """c(n), the harmonic number added up from its largest term."""
    harmonic = 0.0
    for i in range(1, n):
        harmonic += 1 / i
    return 2 * harmonic - 2 * (n - 1) / n if n > 1 else 0.0


class Tree:
    """One node and all below it."""

    def __init__(self, items: list[list[float]], depth: int) -> None:
        self.items, self.depth = items, depth
        self.split: tuple[int, float] | None = None
        self.children: list[Tree] = []

    def path(self, row: list[float]) -> float:
        if self.split is None:
            return self.depth + expected_path(len(self.items))
        column, cut = self.split
        return self.children[row[column] > cut].path(row)


def forest(rows: list[list[float]], seed: int, refit: int, trees: int, samples: int) -> list[Tree]:
    """Liu, Ting & Zhou 2008 with the draws in the order that the kernel makes them in."""
    samples = min(samples, len(rows))
    height = math.ceil(math.log2(samples))
    order, columns = list(range(len(rows))), list(range(len(rows[0])))
    grown = []
    for number in range(trees):
        random = splitmix64(mix((mix((mix((seed + 0x9E3779B97F4A7C15) & BITS) + refit) & BITS) + number) & BITS))
        for i in range(samples):
            other = i + ((next(random) >> 32) * (len(rows) - i) >> 32)
            order[i], order[other] = order[other], order[i]
        root = Tree([], 0)
        queue = [(root, 0, samples)]
        while queue:
            node, start, stop = queue.pop(0)
            node.items = [rows[i] for i in order[start:stop]]
            if len(node.items) < 2 or node.depth == height:
                continue
            for left_over in range(len(columns), 0, -1):
                place = (next(random) >> 32) * left_over >> 32
                column = columns[place]
                columns[place], columns[left_over - 1] = columns[left_over - 1], column
                values = [row[column] for row in node.items]
                low, high = min(values), max(values)
                if low < high:
                    break
            else:
                continue
            cut = float(np.float32(low + (next(random) >> 11) * 2.0**-53 * (high - low)))
            cut = cut if cut < high else low
            node.split = column, cut
            order[start:stop] = sorted(order[start:stop], key=lambda i: rows[i][column] > cut)  # which is stable
            middle = start + sum(row[column] <= cut for row in node.items)
            node.children = [Tree([], node.depth + 1), Tree([], node.depth + 1)]
            queue += [(node.children[0], start, middle), (node.children[1], middle, stop)]
        grown.append(root)
    return grown


def reference(X: Floats, seed: int, trees: int, samples: int, window: int, every: int) -> Floats:
    rows: list[list[float]] = X.astype(np.float32).astype(np.float64).tolist()
    scores = np.full(len(X), np.nan)
    grown: list[Tree] = []
    for i, row in enumerate(rows):
        if i and i % every == 0:
            latest = rows[max(0, i - window) : i]
            grown = forest(latest, seed, i // every, trees, samples)
        if grown:
            path = 0.0
            for tree in grown:
                path += tree.path(row)
            longest = trees * expected_path(len(grown[0].items))
            scores[i] = (2.0 ** -np.array([path / longest]))[0]  # numpy's power, which may differ in the last bit
    return scores


def mixed(seed: int, rows: int) -> Floats:
    """Ordinary, heavy-tailed, constant, binary and count columns; equal rows; values side by side in float32."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 6))
    X[:, 1] = rng.standard_cauchy(size=rows) ** 5
    X[:, 2] = 7.0
    X[:, 3] = rng.random(rows) < 0.02
    X[:, 4] = rng.poisson(2.0, rows)
    X[:, 5] = np.float32(1.0) + rng.integers(0, 2, rows) * np.finfo(np.float32).eps
    X[rows // 2 : rows // 2 + 30] = X[0]
    return X


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_it_is_the_definition_in_plain_python(seed: int) -> None:
    X = mixed(seed % 10, 700)
    scores = SlidingForest(6, seed=seed, **SMALL).score_learn(X)
    expected = reference(X, seed, **SMALL)
    np.testing.assert_array_equal(scores, expected)
    assert np.isnan(scores[:64]).all()
    assert ((scores[64:] > 0) & (scores[64:] < 1)).all()
    assert len(np.unique(scores[64:])) > 200


def test_the_defaults_are_the_definition_too() -> None:
    X = mixed(4, 1_100)
    np.testing.assert_array_equal(
        SlidingForest(6, seed=9).score_learn(X)[:1_030],
        reference(X[:1_030], 9, trees=100, samples=256, window=2_048, every=512),
    )


def test_the_random_numbers_are_those_of_the_paper() -> None:
    """The first numbers of splitmix64 from 1234567, as its authors' C program prints them."""
    found = [next(random) for random in [splitmix64(1234567)] for _ in range(3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_rows_that_are_all_equal_are_all_ordinary() -> None:
    scores = SlidingForest(3).score_learn(np.zeros((1_200, 3)))
    np.testing.assert_allclose(scores[512:], 0.5, rtol=1e-12)  # every path is c(256): nothing is odd
    beyond = SlidingForest(3)
    beyond.score_learn(np.zeros((512, 3)))
    assert beyond.score_learn(np.ones((1, 3)))[0] == scores[512]  # and nothing can be, as no feature ever varied


def test_extreme_values_are_parted_like_others() -> None:
    largest = float(np.finfo(np.float32).max)
    rng = np.random.default_rng(0)
    X = rng.choice([-largest, largest, 0.0, 1e-45, -0.0], size=(1_100, 3))
    assert np.isfinite(SlidingForest(3).score_learn(X)[512:]).all()


def test_the_expected_path_is_the_papers() -> None:
    """c(n) by its estimate of the harmonic number, whose error is 1 / 2n."""
    paths = expected_paths(256)
    for n in (3, 10, 256):
        estimate = 2 * (math.log(n - 1) + 0.5772156649) - 2 * (n - 1) / n
        assert abs(paths[n] - estimate) < 1 / (n - 1)
    assert paths.tolist()[:3] == [0.0, 0.0, 1.0]


def test_trees_take_samples_without_replacement_and_evenly() -> None:
    """Of 50 different rows, trees of 25 samples hold each row as often as any other."""
    rows = [[float(i)] for i in range(50)]
    held = [row[0] for refit in range(40) for tree in forest(rows, 1, refit, 20, 25) for row in tree.items]
    counts = np.bincount(np.array(held, np.int64), minlength=50)
    assert counts.sum() == 40 * 20 * 25
    assert abs(counts - 400).max() < 5 * math.sqrt(800 * 0.25)
    assert all(len({row[0] for row in tree.items}) == 25 for tree in forest(rows, 1, 1, 20, 25))


def test_it_agrees_with_scikit_learns_on_which_rows_are_odd() -> None:
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(3)
    X = rng.normal(size=(2_500, 4))
    X[2_048:] *= rng.choice([1.0, 3.0], size=(452, 1))
    ours = SlidingForest(4, seed=1, trees=300).score_learn(X)[2_048:]
    theirs = -IsolationForest(n_estimators=300, max_samples=256, random_state=0).fit(X[:2_048]).score_samples(X[2_048:])
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    assert abs(ours - theirs).max() < 0.05


def test_it_follows_a_stream_that_moves() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(8_000, 4))
    X[4_000:] += 8.0
    scores = SlidingForest(4, seed=2).score_learn(X)
    usual = np.quantile(scores[2_500:4_000], 0.99)
    assert (scores[4_000:4_500] > usual).mean() > 0.9
    assert (scores[7_000:] > usual).mean() < 0.05


def test_importing_brings_in_no_scikit_learn() -> None:
    code = "import sys, skimstream.scoring.sliding; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "numba" in loaded
    assert "'sklearn'" not in loaded
