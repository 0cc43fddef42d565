"""Do the methods keep their promises? Simulated worlds where the truth is known: a small version here, a large
one marked slow. Bounds are the targets plus Monte Carlo error of the size used (three standard errors)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from leaderboard.stats._resample import Floats, design
from leaderboard.stats.bootstrap import bootstrap_draws, percentile
from leaderboard.stats.clustered import clustered_se
from leaderboard.stats.maxt import all_pairs, max_t
from leaderboard.stats.ranks import rank_ranges
from leaderboard.stats.selection import select_best
from leaderboard.stats.signflip import sign_flip

SIZES = pytest.mark.parametrize("worlds", [150, pytest.param(2000, marks=pytest.mark.slow)])


def margin(rate: float, worlds: int) -> float:
    return 3 * float(np.sqrt(rate * (1 - rate) / worlds))


def correlated(candidates: int, n: int, worlds: int, seed: int, shift: Floats | float = 0.0) -> Iterator[Floats]:
    """Outcomes (n, candidates): equally good candidates that share most of an example's difficulty."""
    rng = np.random.default_rng(seed)
    for _ in range(worlds):
        latent = rng.normal(0.6, 1, (n, 1)) + 0.7 * rng.normal(size=(n, candidates)) + shift
        yield (latent > 0).astype(float)


@SIZES
def test_family_wise_error_with_28_null_pairs(worlds: int) -> None:
    w, pairs = np.repeat([0.5 / 150, 0.3 / 100, 0.2 / 50], [150, 100, 50]), all_pairs(8)
    errors = [
        max_t(w[:, None] * y, pairs, resamples=400, seed=i).adjusted.min() <= 0.05
        for i, y in enumerate(correlated(8, 300, worlds, seed=1))
    ]
    assert np.mean(errors) <= 0.05 + margin(0.05, worlds)
    if worlds >= 2000:
        assert np.mean(errors) <= 0.06


@SIZES
def test_coverage_of_a_weighted_scores_intervals(worlds: int) -> None:
    rates, sizes, share = np.array([0.9, 0.7, 0.55]), np.array([120, 200, 80]), np.array([0.5, 0.2, 0.3])
    strata, rng = np.repeat([0, 1, 2], sizes), np.random.default_rng(2)
    w, truth = np.repeat(share / sizes, sizes), float(share @ rates)
    covered = np.zeros((worlds, 2))
    for i in range(worlds):
        y = (rng.random(len(w)) < rates[strata]).astype(float)
        value, se = float(w @ y), float(clustered_se(y, np.arange(len(w)), w, strata)[0])
        draws = bootstrap_draws(y, w, strata, resamples=1000, seed=i)
        low, high = percentile(draws, np.array([value]))
        covered[i] = [abs(value - truth) <= 1.959964 * se, low[0] <= truth <= high[0]]
    for rate in covered.mean(axis=0):
        assert 0.94 - margin(0.94, worlds) <= rate <= 0.97 + margin(0.97, worlds)
        assert worlds < 2000 or 0.94 - 0.005 <= rate <= 0.97


@SIZES
def test_coverage_where_problems_repeat(worlds: int) -> None:
    rng, clusters = np.random.default_rng(3), np.tile(np.arange(100), 6)
    covered, naive = [], []
    for _ in range(worlds):
        y = (rng.normal(0.5, 1, 100)[clusters] + rng.normal(0, 0.5, 600) > 0).astype(float)
        off = abs(y.mean() - 0.672640)  # P(N(.5, 1.25) > 0)
        covered.append(off <= 1.959964 * clustered_se(y, clusters)[0])
        naive.append(off <= 1.959964 * y.std(ddof=1) / np.sqrt(600))
    assert 0.93 - margin(0.94, worlds) <= np.mean(covered) <= 0.97 + margin(0.97, worlds)
    assert np.mean(naive) < 0.85  # what ignoring the clusters would cost


@SIZES
def test_choosing_lambda_holds_its_level_and_the_naive_test_does_not(worlds: int) -> None:
    w, honest, anywhere, naive = np.full(400, 1 / 400), [], [], []
    for i, y in enumerate(correlated(21, 400, worlds, seed=4)):
        found = select_best(y, w, resamples=400, repeats=1, seed=i)
        honest.append(found.p <= 0.05)
        anywhere.append(found.adjusted.min() <= 0.05)
        alone = sign_flip((y[:, [found.best]] - y[:, [0]]) / 400, resamples=400, seed=i)
        naive.append(alone[0] <= 0.05)
    assert np.mean(honest) <= np.mean(anywhere) <= 0.05 + margin(0.05, worlds)
    assert np.mean(naive) > 0.10  # about .2: testing the winner as if nobody had chosen it


@SIZES
def test_a_real_peak_is_found_with_power(worlds: int) -> None:
    shift = 0.35 * np.exp(-((np.arange(11) - 4) ** 2) / 8.0)
    found = [
        select_best(y, np.full(600, 1 / 600), resamples=400, repeats=1, seed=i).p <= 0.05
        for i, y in enumerate(correlated(11, 600, worlds // 2, seed=5, shift=shift - shift[0]))
    ]
    assert np.mean(found) > 0.85


@SIZES
def test_rank_ranges_cover_all_true_ranks_at_once(worlds: int) -> None:
    shift, w = np.array([0.0, 0.0, 0.1, 0.2, 0.2, 0.5]), np.full(400, 1 / 400)
    # Ranks of the truth; equal candidates may take either of the ranks they share.
    best, worst = np.array([5, 5, 4, 2, 2, 1]), np.array([6, 6, 4, 3, 3, 1])
    covered = []
    for i, y in enumerate(correlated(6, 400, worlds, seed=6, shift=shift)):
        ranges = rank_ranges(w @ y, bootstrap_draws(y, w, resamples=500, seed=i))
        covered.append(bool(((ranges.low <= best) & (ranges.high >= worst)).all()))
    assert np.mean(covered) >= 0.95 - margin(0.95, worlds)


def test_units_are_whole_clusters_in_every_draw() -> None:
    plan = design(np.repeat([0, 1], 10), np.tile(np.arange(10), 2), 20)
    assert plan.count == 10
    assert (plan.units[:10] == plan.units[10:]).all()
