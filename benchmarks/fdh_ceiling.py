"""How good a detector can be on the handbook's simulated cards: one that knows how frauds were made.

It knows what can be known when a transaction happens:

- scenario 1: the amount is above 220;
- scenario 2: the terminal is compromised, once a label of this compromise (28 days) is a week old. Before that its
  transactions are like any others: they are `hidden`, and no order of them among ordinary ones is better than chance;
- scenario 3: how likely the amount is for this card, with the true mean and deviation of its ordinary payments, against
  one that was multiplied by five.

So it never takes an ordinary transaction for one of the first two, as all that has to learn must. It looks at one
amount at a time, though: who remembers that a card has paid much of late knows more of scenario 3. Nobody can do better
than if all of scenario 3 were known, and the hidden ones of scenario 2 lie as chance has it.
"""

import numpy as np
from numpy.typing import NDArray

from skimstream.scoring.measure import Judge

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY = 86_400
DELAY, COMPROMISED = 7 * DAY, 28 * DAY
LARGE = 220.0
FACTOR = 5.0
LEAST_DEVIATION = 0.5  # of a card that always pays about the same


def hidden(seconds: Ints, terminal: Ints, scenario: Ints) -> NDArray[np.bool_]:
    """bool[n]: frauds of scenario 2 at terminals of which no label is known yet; all in order of time.

    >>> hidden(np.array([0, 6, 7, 28, 40]) * DAY, np.zeros(5, int), np.full(5, 2)).tolist()
    [True, True, False, False, False]
    """
    rows = np.flatnonzero(scenario == 2)
    found = np.zeros(len(seconds), np.bool_)
    for one in np.unique(terminal[rows]).tolist():
        own = rows[terminal[rows] == one]
        when = seconds[own]
        earlier, known = (
            np.searchsorted(when, when - COMPROMISED, "right"),
            np.searchsorted(when, when - DELAY, "right"),
        )
        found[own] = known <= earlier
    return found


def oracle(seconds: Ints, customer: Ints, terminal: Ints, cents: Ints, scenario: Ints) -> Floats:
    """float64[n]: the scores of one who knows; by scenario 3 they are a likelihood ratio, made a share."""
    amount, ordinary = cents / 100, scenario == 0
    count = np.maximum(np.bincount(customer[ordinary], minlength=customer.max() + 1), 1)
    mean = np.bincount(customer[ordinary], amount[ordinary], len(count)) / count
    square = np.bincount(customer[ordinary], amount[ordinary] ** 2, len(count)) / count
    usual = mean[customer]
    spread = np.maximum(np.sqrt(np.maximum(square - mean**2, 0.0)), LEAST_DEVIATION)[customer]
    ratio = _density(amount, FACTOR * usual, FACTOR * spread) / np.maximum(_density(amount, usual, spread), 1e-300)
    share = float((scenario == 3).mean())
    score = ratio * share / (ratio * share + 1)
    score[(scenario == 2) & ~hidden(seconds, terminal, scenario)] = 2.0
    score[amount > LARGE] = 3.0
    return score


def chance(fraud: NDArray[np.bool_], unseen: NDArray[np.bool_]) -> float:
    """The standard deviation of an AUC that comes from where the hidden frauds happen to stand among ordinary rows.

    Each is as good as a uniform number, of variance 1/12.
    """
    return float(unseen.sum() / fraud.sum() / np.sqrt(12 * max(unseen.sum(), 1)))


def auc(fraud: NDArray[np.bool_], score: Floats) -> float:
    """Area under the ROC curve."""
    return Judge(fraud, score).curve().roc_auc


def _density(value: Floats, mean: Floats, deviation: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * ((value - mean) / deviation) ** 2) / deviation)
