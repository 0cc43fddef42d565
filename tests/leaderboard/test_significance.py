"""The board of all candidates and the sweep, from runs: joined by id, honest at the edges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from leaderboard._errors import LeaderboardError
from leaderboard.compare import compare
from leaderboard.significance import board, sweep
from results.records import RunRewards

RunMaker = Callable[..., RunRewards]


def noisy(make_run: RunMaker, rate: float, n: int = 400, seed: int = 0, order: int = 1) -> RunRewards:
    """Pairs of which a share `rate` is right; order -1 stores the same examples the other way round."""
    right = np.random.default_rng(seed).random(n) < rate
    rewards = [[1.0, 0.0] if r else [0.0, 1.0] for r in right][::order]
    return make_run(rewards, [[1, 0]] * n, ids=[f"e{i}" for i in range(n)][::order])


def test_a_board_ranks_and_tests_every_pair(make_run: RunMaker) -> None:
    found = board([noisy(make_run, 0.5), noisy(make_run, 0.9, seed=1), noisy(make_run, 0.88, seed=2)])
    assert found.ranks.low.tolist() == [3, 1, 1]
    assert found.ranks.high.tolist() == [3, 2, 2]
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert (found.tests.adjusted[:2] < 0.001).all()
    assert found.tests.adjusted[2] > 0.05
    assert ((found.low < found.values) & (found.values < found.high)).all()
    assert ((found.difference_low < found.difference) & (found.difference < found.difference_high)).all()
    assert 0.03 < found.mde[2] < 0.1


def test_the_order_of_the_rows_does_not_matter(make_run: RunMaker) -> None:
    usual = board([noisy(make_run, 0.6), noisy(make_run, 0.7, seed=1)])
    other = board([noisy(make_run, 0.6), noisy(make_run, 0.7, seed=1, order=-1)])
    assert (usual.tests.raw, usual.difference_low) == (other.tests.raw, other.difference_low)


def test_the_board_and_a_single_comparison_agree(make_run: RunMaker) -> None:
    first, second = noisy(make_run, 0.6), noisy(make_run, 0.66, seed=1)
    found, alone = board([first, second]), compare(first, second)
    assert found.tests.raw[0] == pytest.approx(alone.p, abs=0.02)
    assert found.mde[0] == pytest.approx(alone.mde)
    assert (found.difference_low[0], found.difference_high[0]) == pytest.approx((alone.low, alone.high), abs=0.01)


def test_only_examples_with_an_outcome_in_every_run_count(make_run: RunMaker) -> None:
    runs = [
        make_run([[1, 0], [1, 0], [None, 0]], [[1, 0]] * 3),
        make_run([[1, 0], [None, 0], [1, 0]], [[1, 0]] * 3),
    ]
    found = board(runs)
    assert (found.n, found.dropped) == (1, 1)
    with pytest.raises(LeaderboardError, match="no example of toy has an outcome for score in all 2 runs"):
        board([make_run([[None, 0], [1, 0]], [[1, 0]] * 2), make_run([[1, 0], [None, 0]], [[1, 0]] * 2)])


def test_boards_of_none_of_one_and_of_one_example(make_run: RunMaker) -> None:
    with pytest.raises(LeaderboardError, match="no run to rank"):
        board([])
    alone = board([noisy(make_run, 0.7)])
    assert (alone.ranks.low.tolist(), alone.ranks.high.tolist(), len(alone.pairs)) == ([1], [1], 0)
    tiny = board([make_run([[1, 0]], [[1, 0]]), make_run([[0, 1]], [[1, 0]])])
    assert tiny.ranks.high.tolist() == [2, 2]
    assert tiny.tests.adjusted[0] == 1
    assert tiny.low[0] < 0.3


def test_equal_candidates_and_all_ties_are_told_so(make_run: RunMaker) -> None:
    run = noisy(make_run, 0.7)
    same = board([run, run, run])
    assert same.ranks.high.tolist() == [3, 3, 3]
    assert (same.tests.adjusted == 1).all()
    assert (same.difference_low < 0).all()
    ties = make_run([[1, 1]] * 50, [[1, 0]] * 50)
    assert board([ties, ties]).values.tolist() == [0, 0]


def test_a_sweep_says_what_the_best_lambda_is_worth(make_run: RunMaker) -> None:
    rng = np.random.default_rng(7)
    quality, noise = [0.0, 0.4, 0.8, 0.2], rng.normal(0.3, 1, 500)
    runs = []
    for shift in quality:
        right = noise + rng.normal(0, 0.3, 500) + shift > 0
        runs.append(make_run([[1.0, 0.0] if r else [0.0, 1.0] for r in right], [[1, 0]] * 500))
    found = sweep(runs, reference=0, seed=2)
    assert (found.best, found.p < 0.001) == (2, True)
    assert found.low > 0
    assert found.effect <= found.optimistic
