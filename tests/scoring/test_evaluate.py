"""Figures from plain arrays: ranks against a plain count, intervals that cover."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skimstream.scoring.evaluate import best_scores, bootstrap, entry, first_hits, ranks, top

alerts = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([np.nan, 0.1, 0.2, 0.5, 0.9])), max_size=30)


@given(alerts)
def test_ranks_and_lists_as_a_plain_count_has_them(night: list[tuple[int, float]]) -> None:
    owners = np.array([owner for owner, _ in night], np.int64)
    scores = np.array([score for _, score in night])
    best: dict[int, float] = {}
    for owner, score in night:
        if score == score:
            best[owner] = max(score, best.get(owner, 0.0))
    wanted = np.array([6, 0, 3, 99])
    expected = [
        float(sum(other >= best[one] for other in best.values())) if one in best else np.inf for one in wanted.tolist()
    ]
    assert ranks(scores, owners, wanted).tolist() == expected
    ordered = sorted(best, key=lambda one: (-best[one], one))
    assert top(scores, owners, 3).tolist() == ordered[:3]
    ids, values = best_scores(scores, owners)
    assert dict(zip(ids.tolist(), values.tolist(), strict=True)) == best
    bar = entry(values, 3)
    assert sum(value >= bar for value in best.values()) >= min(3, len(best))
    assert (bar == float("-inf")) == (len(best) < 3)


def test_a_rank_above_ten_is_in_the_top_ten() -> None:
    scores, owners = np.arange(100.0), np.arange(100)
    assert np.count_nonzero(ranks(scores, owners, owners) <= 10) == 10
    assert np.count_nonzero(ranks(np.zeros(100), owners, owners) <= 10) == 0  # ties count against everyone


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.booleans()), max_size=30))
def test_first_hits(rows: list[tuple[int, int, bool]]) -> None:
    wanted = np.array([3, 0, 1, 2, 4])
    owners = np.array([owner for owner, _, _ in rows], np.int64)
    points = np.array([count for _, count, _ in rows], np.int64)
    hits = np.array([hit for _, _, hit in rows], np.bool_)
    expected = [min((p for o, p, hit in rows if hit and o == one), default=np.inf) for one in wanted.tolist()]
    assert first_hits(points, hits, owners, wanted).tolist() == expected


def test_intervals_cover_and_clusters_widen_them() -> None:
    rng = np.random.default_rng(1)
    covered, inside, widths = 0, 40, []
    for seed in range(100):
        values = (rng.random(60) < 0.3).astype(float)
        found = bootstrap(values, np.arange(60), seed, 300)
        assert found.low <= found.mean <= found.high
        covered += found.low <= 0.3 <= found.high
        widths.append(found.high - found.low)
    assert 85 <= covered <= 100
    copies = np.repeat((rng.random(6) < 0.5).astype(float), inside)
    apart = bootstrap(copies, np.arange(len(copies)))
    together = bootstrap(copies, np.repeat(np.arange(6), inside))
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_nothing_has_no_mean() -> None:
    nothing = bootstrap(np.zeros(0), np.zeros(0, np.int64))
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()
    one = bootstrap(np.array([1.0]), np.array([5]))
    assert (one.mean, one.low, one.high) == (1.0, 1.0, 1.0)
