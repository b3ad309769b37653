"""The published protocol of the card evaluation: its weeks, its measure, and that labels come a week late."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

import fdh_ceiling as ceiling
from evaluate_fdh import COUNTS, DAY, HERE, Transactions, card_precision, records, transactions, weeks
from skimstream.consumer.config import load_settings
from skimstream.consumer.configured import configured_stream
from skimstream.schemas.gather import gather


def test_the_published_weeks_have_the_published_counts(shared: Path) -> None:
    of = transactions()
    training, test = weeks(of, date(2018, 7, 25))
    assert {"train": len(training), "test": len(test), "frauds": int(of.fraud[test].sum())} == COUNTS


def few() -> Transactions:
    day = np.array([100, 100, 100, 101, 101])
    customer = np.array([1, 2, 3, 1, 3])
    fraud = np.array([True, False, False, True, True])
    return Transactions(day * DAY + np.arange(5), customer, np.full(5, 9), np.full(5, 1_000), fraud)


def test_a_card_that_was_found_isnt_found_again() -> None:
    score = np.array([0.9, 0.8, 0.1, 0.9, 0.2])
    # Day 100: card 1. Day 101: card 1 is known, card 3 is found.
    assert card_precision(few(), np.arange(5), score) == pytest.approx((1 / 100 + 1 / 100) / 2)


def test_a_label_follows_its_transaction_by_seven_days() -> None:
    stream = configured_stream(load_settings(HERE / "fdh.toml", {}))
    (made,) = records(few())
    assert [one["fraud"] for one in made] == [None] * 5 + [1.0, 0.0, 0.0, 1.0, 1.0]
    assert all(one["when"] - one["paid"] == 7 * DAY for one in made[5:])
    columns = gather(made, stream.wanted)
    assert stream.check(columns) == []
    found = stream.open().features(columns)
    assert (found.rows.tolist(), found.unscored["label"]) == ([0, 1, 2, 3, 4], 5)
    risks = [i for i, name in enumerate(stream.features) if "risk" in name]
    assert not found.matrix[:, risks].any(), "nothing was known yet"


def test_a_compromise_is_hidden_for_a_week_and_then_known_to_the_oracle() -> None:
    day = np.array([0, 6, 6, 8, 9, 40, 41])
    terminal, scenario = np.array([1, 1, 2, 1, 1, 1, 2]), np.array([2, 2, 0, 2, 0, 2, 0])
    unseen = ceiling.hidden(day * DAY, terminal, scenario)
    assert unseen.tolist() == [True, True, False, False, False, True, False]  # a second compromise, after the first
    cents = np.array([1_000, 1_100, 900, 1_000, 25_000, 1_000, 1_200])
    score = ceiling.oracle(day * DAY, np.zeros(7, np.int64), terminal, cents, scenario)
    assert (score > 1).tolist() == [False, False, False, True, True, False, False]
    assert ceiling.chance(scenario > 0, unseen) == pytest.approx(3 / 4 / np.sqrt(12 * 3))


def test_a_payment_five_times_as_large_is_likely_one_of_a_stolen_card() -> None:
    rng, ordinary = np.random.default_rng(1), 200
    cents = np.concatenate([rng.normal(2_000, 300, ordinary), [10_000, 2_000]]).astype(np.int64)
    scenario = np.array([0] * ordinary + [3, 0])
    row = np.arange(ordinary + 2)
    score = ceiling.oracle(row * DAY, np.zeros_like(row), row, cents, scenario)
    assert np.argmax(score) == ordinary
    assert ceiling.auc(scenario > 0, score) == 1.0
