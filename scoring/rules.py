"""Rules that a valid record can't break: features named `rule_…`, 0 = kept, above 0 = broken, NaN = can't be judged.

Forests say how rare a record is among valid ones. A broken rule is evidence of another kind, so it isn't averaged with
theirs: such a record ranks above all that keep the rules, the more rules the higher, and nothing learns from it.
Which rules, and how many, is to be read from the features themselves.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .combine import CAP

Floats = NDArray[np.float64]

PREFIX = "rule_"
# The ranker's tail ends at (m + 11/12) / (m + 1), as combined values span 11 (-3 to 8): 1 - 1.7e-6 for the longest
# window it takes, m = 50,000. A broken rule scores above that whatever the window is.
ABOVE_ALL = 1e-6

# What the rules that are known by name demand; of others the name itself is told.
BROKEN: Mapping[str, str] = {
    "rule_coordinates": "the coordinates are out of range",
    "rule_times": "it ends before it begins",
    "rule_release": "it was released before it was observed",
    "rule_elongation": "it points where the telescope can't: too near to the Sun, or too far from it",
    "rule_exposure": "the exposure is longer than its span",
    "rule_wavelength": "the band is not that of its filter",
}


def broken(feature: str, value: float) -> bool:
    """Whether this feature is a rule, and broken."""
    return feature.startswith(PREFIX) and value > 0


def broken_in_words(feature: str) -> str:
    """What it means that a rule is broken.

    >>> broken_in_words("rule_times"), broken_in_words("rule_price_list")
    ('it ends before it begins', 'price list is broken')
    """
    return BROKEN.get(feature, f"{feature.removeprefix(PREFIX).replace('_', ' ')} is broken")


def rule_columns(features: Sequence[str]) -> NDArray[np.int64]:
    """The places of the rules among the features, int64[r].

    >>> rule_columns(("s_ra", "rule_times", "rule_exposure")).tolist()
    [1, 2]
    """
    return np.array([place for place, name in enumerate(features) if name.startswith(PREFIX)], np.int64)


def broken_rules(matrix: Floats, rules: NDArray[np.int64]) -> Floats:
    """How many rules each row of float64[n, f] breaks, float64[n]."""
    return np.asarray((matrix[:, rules] > 0).sum(axis=1), np.float64)


def rule_scores(broken: Floats) -> tuple[Floats, Floats]:
    """Score in [0.999999, 1) and combined value above the parts' cap, of rows that break 1 rule or more.

    >>> scores, combined = rule_scores(np.array([1.0, 3.0]))
    >>> scores.tolist(), combined.tolist()
    ([0.9999995, 0.99999975], [9.0, 11.0])
    """
    return 1 - ABOVE_ALL / (1 + broken), CAP + broken
