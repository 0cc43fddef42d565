"""Our resampling and standard errors against scipy's and statsmodels' own."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from leaderboard.stats._resample import design
from leaderboard.stats.bootstrap import bootstrap_draws, percentile, percentile_pairs
from leaderboard.stats.clustered import clustered_se
from leaderboard.stats.maxt import all_pairs, max_t
from leaderboard.stats.signflip import sign_flip
from leaderboard.stats.stratified import stratified_se

RNG = np.random.default_rng(20)


@pytest.mark.parametrize("sizes", [[4] * 30, [1, 2, 3, 7] * 10])
def test_clustered_standard_error_is_statsmodels(sizes: list[int]) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    y = (RNG.normal(size=len(sizes))[groups] + RNG.normal(size=len(groups)) > 0).astype(float)
    fit = sm.OLS(y, np.ones(len(y))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False, "df_correction": False}
    )
    count = len(sizes)
    assert clustered_se(y, groups)[0] == pytest.approx(fit.bse[0] * np.sqrt(count / (count - 1)), rel=1e-9)


def test_one_example_a_cluster_is_the_plain_standard_error() -> None:
    y = RNG.random(50)
    assert clustered_se(y, np.arange(50))[0] == pytest.approx(stats.sem(y))
    assert stratified_se(y, np.full(50, 1 / 50))[0] == pytest.approx(stats.sem(y))


def test_problems_repeated_over_subsets_are_one_block() -> None:
    # Six subsets of one weight holding the same 40 problems: the mean of 40 problem means.
    y = RNG.random((6, 40)) + RNG.random(40)
    strata, clusters = np.repeat(np.arange(6), 40), np.tile(np.arange(40), 6)
    found = clustered_se(y.ravel(), clusters, np.full(240, 1 / 240), strata)[0]
    assert found == pytest.approx(stats.sem(y.mean(axis=0)))
    assert found > 1.2 * stratified_se(y.ravel(), np.full(240, 1 / 240), strata)[0]


def test_a_stratum_of_one_is_pooled_not_ignored() -> None:
    plan = design([0, 0, 0, 1, 2], None, 5)
    assert len(np.unique(plan.blocks)) == 2  # the two lonely ones together
    assert len(np.unique(design([0, 0, 0, 1], None, 4).blocks)) == 1
    y, w = np.array([1.0, 1, 1, 0, 1]), np.array([0.1, 0.1, 0.1, 0.35, 0.35])
    assert stratified_se(y, w, [0, 0, 0, 1, 2])[0] == pytest.approx(0.35 * np.sqrt(2 * (0.25 + 0.25)))
    assert np.isnan(stratified_se(np.ones(1), np.ones(1))[0])


def test_sign_flips_are_scipys_permutation_test() -> None:
    t = RNG.normal(0.15, 1, (60, 3)) * RNG.random(60)[:, None]
    expected = stats.permutation_test(
        (t,), lambda x, axis: x.sum(axis), permutation_type="samples", n_resamples=20_000, vectorized=True, rng=1
    ).pvalue
    np.testing.assert_allclose(sign_flip(t, resamples=20_000, seed=2), expected, atol=0.015)


def test_sign_flips_on_few_units_are_exact() -> None:
    t = RNG.integers(-3, 4, (10, 4)).astype(float)
    expected = stats.permutation_test(
        (t,), lambda x, axis: x.sum(axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue
    np.testing.assert_allclose(sign_flip(t), expected)


def test_few_differing_units_among_many_keep_their_coarse_p() -> None:
    t = np.zeros((400, 2))
    t[:3, 0] = 1  # 2 of 8 patterns: p = .25 however many units agree
    p = sign_flip(t, resamples=20_000)
    assert p[0] == pytest.approx(0.25, abs=0.015)
    assert p[1] == 1


def test_the_seed_decides() -> None:
    t = RNG.normal(0.1, 1, (50, 1))
    assert sign_flip(t, seed=3)[0] == sign_flip(t, seed=3)[0] != sign_flip(t, seed=4)[0]


def test_max_t_by_full_enumeration() -> None:
    """Step-down Westfall-Young written out: successive maxima over the 2^9 flips, in double precision."""
    units = RNG.normal([0, 0.3, 0.6, 1.2], 1, (9, 4))
    pairs = all_pairs(4)
    diffs = units[:, pairs[:, 0]] - units[:, pairs[:, 1]]
    signs = np.array(np.meshgrid(*[[1, -1]] * 9)).reshape(9, -1).T

    def student(t: np.ndarray) -> np.ndarray:
        return np.abs(t) / np.sqrt(((diffs**2).sum(0) - t**2 / 9) / (9 * 8)) / 9

    z, flips = student(diffs.sum(0)), student(signs @ diffs)
    order = np.argsort(-z)
    expected, floor = np.empty(6), 0.0
    for i, pair in enumerate(order):
        floor = max(floor, float((flips[:, order[i:]].max(axis=1) >= z[pair] - 1e-9).mean()))
        expected[pair] = floor
    found = max_t(units, pairs)
    np.testing.assert_allclose(found.adjusted, expected)
    np.testing.assert_allclose(found.raw, (flips >= z - 1e-9).mean(axis=0))
    np.testing.assert_allclose(found.single_step, [(flips.max(1) >= v - 1e-9).mean() for v in z])


def test_max_t_agrees_with_the_sign_flip_and_only_ever_adds() -> None:
    units = RNG.normal(size=(80, 5))
    pairs = all_pairs(5)
    found = max_t(units, pairs, seed=7)
    alone = sign_flip(units[:, pairs[:, 0]] - units[:, pairs[:, 1]], seed=7)
    np.testing.assert_allclose(found.raw, alone, atol=3e-4)
    assert (found.raw <= found.adjusted).all()
    assert (found.adjusted <= found.single_step).all()


def test_equal_candidates_are_never_told_apart() -> None:
    column = RNG.random((30, 1))
    found = max_t(np.hstack([column, column, column + 1]), all_pairs(3))
    assert found.adjusted[0] == 1
    assert found.adjusted[1] < 0.01
    assert max_t(column, all_pairs(1)).adjusted.shape == (0,)


def test_the_bootstrap_is_scipys() -> None:
    a, b = RNG.random(120), RNG.random(120)
    w = np.full(120, 1 / 120)
    draws = bootstrap_draws(np.stack([a, b], 1), w, resamples=10_000, seed=1)
    expected = stats.bootstrap(
        (a, b), lambda x, y, axis: (x - y).mean(axis), paired=True, method="percentile", n_resamples=10_000, rng=1
    )
    low, high = percentile_pairs(draws, np.array([a.mean(), b.mean()]), np.array([[0, 1]]))
    interval = expected.confidence_interval
    tolerance = 0.08 * expected.standard_error
    assert (low[0], high[0]) == pytest.approx((interval.low, interval.high), abs=tolerance)
    assert percentile(draws, np.array([a.mean(), b.mean()]))[0][0] < a.mean()


@pytest.mark.parametrize("clusters", [None, np.repeat(np.arange(60), 2)])
def test_the_bootstraps_spread_is_the_closed_form(clusters: np.ndarray | None) -> None:
    y, w = RNG.random(120), np.repeat([0.8 / 60, 0.2 / 60], 60)
    strata = np.repeat([0, 1], 60)
    draws = bootstrap_draws(y, w, strata, clusters, resamples=20_000, seed=4)
    closed = clustered_se(y, np.arange(120) if clusters is None else clusters, w, strata)[0]
    assert draws.std() == pytest.approx(closed, rel=0.04)


def test_percentiles_are_numpys() -> None:
    draws = RNG.normal(size=(999, 4)).astype(np.float32)
    expected = np.quantile(draws, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(np.stack(percentile(draws, np.zeros(4), 0.9)), expected, atol=1e-6)
