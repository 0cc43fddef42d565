"""Rank ranges, the choice of lambda, and the registry of paired tests."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboard.stats._paired import Paired, paired_tests
from leaderboard.stats.bootstrap import bootstrap_draws
from leaderboard.stats.ranks import enough_units, rank_ranges
from leaderboard.stats.selection import select_best


def outcomes(rates: list[float], n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, len(rates))) < rates).astype(float)


def ranges(y: np.ndarray, **options: object) -> tuple[list[int], list[int]]:
    w = np.full(len(y), 1 / len(y))
    found = rank_ranges(w @ y, bootstrap_draws(y, w), decidable=enough_units(y), **options)  # type: ignore[arg-type]
    return found.low.tolist(), found.high.tolist()


def test_clear_differences_give_exact_ranks() -> None:
    assert ranges(outcomes([0.5, 0.9, 0.7], 2000)) == ([3, 1, 2], [3, 1, 2])


def test_equal_candidates_share_the_whole_range() -> None:
    y = outcomes([0.6], 500)
    assert ranges(np.hstack([y, y, y])) == ([1, 1, 1], [3, 3, 3])


def test_a_group_at_the_top_cannot_be_told_apart_but_stands_above_the_rest() -> None:
    assert ranges(outcomes([0.8, 0.81, 0.3], 800)) == ([1, 1, 3], [2, 2, 3])


def test_a_handful_of_examples_decides_nothing_and_many_do() -> None:
    ends = np.array([1.0, 0.0])
    assert ranges(np.tile(ends, (5, 1))) == ([1, 1], [2, 2])
    assert ranges(np.tile(ends, (50, 1))) == ([1, 2], [1, 2])


def test_one_candidate_is_first() -> None:
    assert ranges(outcomes([0.5], 20)) == ([1], [1])


def test_a_real_peak_is_found_with_an_honest_effect() -> None:
    rates = [0.6, 0.7, 0.8, 0.7, 0.5]
    y = outcomes(rates, 3000)
    found = select_best(y, np.full(3000, 1 / 3000), seed=1)
    assert found.best == 2
    assert found.p < 0.001
    assert found.low < 0.2 < found.high
    assert found.effect <= found.optimistic + 1e-12
    assert found.bias_corrected <= found.optimistic
    assert found.chosen.sum() == pytest.approx(1)


def test_noise_flatters_the_naive_maximum_and_not_the_others() -> None:
    gaps = [
        select_best(outcomes([0.6] * 11, 300, seed), np.full(300, 1 / 300), resamples=500, seed=seed)
        for seed in range(30)
    ]
    naive, honest = np.mean([g.optimistic for g in gaps]), np.mean([g.effect for g in gaps])
    assert naive > 0.03
    assert abs(honest) < naive / 3
    assert np.mean([g.bias_corrected for g in gaps]) < naive / 2


def test_the_reference_may_win_the_sweep() -> None:
    found = select_best(outcomes([0.9, 0.5, 0.4], 500), np.full(500, 1 / 500))
    assert (found.best, found.p, found.optimistic) == (0, 1.0, 0.0)
    assert found.effect == pytest.approx(0.0)


def test_what_a_sweep_could_have_seen() -> None:
    y = np.zeros((2985, 3))
    y[:149, 1] = y[200:500, 0] = y[200:500, 1] = 1  # a twentieth of the pairs discordant: 1.15 points, see power.py
    found = select_best(y, np.full(2985, 1 / 2985), resamples=200)
    assert (found.best, round(100 * found.mde, 2)) == (1, 1.15)
    turned = select_best(y, np.full(2985, 1 / 2985), resamples=200, reference=1)
    assert (turned.best, round(100 * turned.mde, 2)) == (1, 1.15)  # the reference wins: of its best rival


def test_a_sweep_of_the_reference_alone_is_no_error() -> None:
    found = select_best(outcomes([0.5], 10), np.full(10, 0.1))
    assert (found.best, found.p, found.effect) == (0, 1.0, 0.0)


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reference 3 is not a column of 0\.\.1"):
        select_best(np.zeros((4, 2)), np.full(4, 0.25), reference=3)


@pytest.mark.parametrize("name", sorted(paired_tests()))
def test_every_paired_test_is_symmetric_seeded_and_holds_its_level(name: str) -> None:
    """The contract of a file with TEST: 400 null comparisons on 60 shared examples, at .05."""
    test, rng = paired_tests()[name], np.random.default_rng(11)
    t = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=(60, 400)) / 60
    wins, losses = (t > 0).sum(axis=0), (t < 0).sum(axis=0)
    null = Paired(t, wins, losses, np.ones(400, bool))
    p = test.p_values(null, resamples=2000, seed=1)
    assert test.title
    assert test.applies(null).all()
    assert ((p > 0) & (p <= 1)).all()
    assert (p <= 0.05).mean() <= 0.08
    np.testing.assert_array_equal(p, test.p_values(null, resamples=2000, seed=1))
    np.testing.assert_allclose(p, test.p_values(Paired(-t, losses, wins, null.plain), resamples=2000, seed=1))
