"""The check values of the methods: published examples and hand calculations, never our own output."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import optimize, stats

from leaderboard.stats.agresti_min import agresti_min
from leaderboard.stats.bestofn import best_of_n, pass_at_n
from leaderboard.stats.bh import benjamini_hochberg
from leaderboard.stats.holm import holm
from leaderboard.stats.mcnemar import mcnemar_chi_square, mcnemar_exact, mcnemar_midp
from leaderboard.stats.power import minimum_detectable_effect
from leaderboard.stats.signflip import sign_flip
from leaderboard.stats.stratified import stratified_se
from leaderboard.stats.wilson import wilson

BH_1995 = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459),
    *(0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0),
]
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])


@pytest.mark.parametrize(
    ("b", "c", "exact"),
    [(1, 7, 0.0703125), (4, 3, 1.0), (30, 23, 0.41010), (29, 27, 0.89385), (39, 26, 0.13603), (0, 0, 1.0)],
)
def test_mcnemar_exact(b: int, c: int, exact: float) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(exact, abs=5e-6)
    assert mcnemar_exact(c, b) == mcnemar_exact(b, c)


def test_mcnemar_midp() -> None:
    np.testing.assert_allclose(mcnemar_midp([1, 39], [7, 26]), [0.0390625, 0.10886], atol=5e-6)
    # b = c = 1: 1 - P(X=1)/2 = 1 - 1/4
    np.testing.assert_allclose(mcnemar_midp([1, 0], [1, 0]), [0.75, 1.0])


def test_mcnemar_chi_square() -> None:
    assert mcnemar_chi_square(86, 150)[0] == pytest.approx(17.3559, abs=5e-5)
    assert mcnemar_chi_square(86, 150, corrected=True)[0] == pytest.approx(16.8178, abs=5e-5)


def test_holm_and_benjamini_hochberg_on_the_1995_example() -> None:
    fdr, fwer = benjamini_hochberg(BH_1995), holm(BH_1995)
    assert ((fdr <= 0.05).sum(), (fwer <= 0.05).sum()) == (4, 3)
    np.testing.assert_allclose(fwer[:4], [0.0015, 0.0056, 0.0247, 0.1140])
    np.testing.assert_allclose(fdr[:4], [0.0015, 0.003, 0.0095, 0.035625])


def test_adjustments_keep_the_given_order_and_take_nothing() -> None:
    np.testing.assert_allclose(holm([0.04, 0.01]), [0.04, 0.02])
    np.testing.assert_allclose(benjamini_hochberg([0.04, 0.01]), [0.04, 0.02])
    assert len(holm([])) == len(benjamini_hochberg([])) == 0


def test_darwins_plants_by_full_enumeration() -> None:
    assert sign_flip(DARWIN, alternative="greater")[0] * 2**15 == 863
    assert sign_flip(DARWIN)[0] * 2**15 == 1726


def test_wilson() -> None:
    low, high = wilson([81, 0, 20, 0], [263, 20, 20, 0])
    np.testing.assert_allclose(low[[0, 1, 3]], [0.2553, 0, 0], atol=5e-5)
    np.testing.assert_allclose(high[[0, 1, 3]], [0.3662, 0.1611, 1], atol=5e-5)
    assert (low[2], high[2]) == pytest.approx((1 - high[1], 1.0))


@pytest.mark.parametrize(("k", "n", "level"), [(1, 2, 0.95), (50, 100, 0.9), (999, 1000, 0.99)])
def test_wilson_is_scipys(k: int, n: int, level: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level) == pytest.approx((expected.low, expected.high))


SUBSETS = [  # (section, n, weight within the section)
    *[(0, n, n) for n in (100, 95, 95, 28, 40)],
    *[(1, n, n) for n in (37, 100, 134, 92, 47, 46)],
    *[(2, n, n) for n in (100, 100, 154, 250, 136)],
    (3, 447, 984),
    *[(3, 164, 164)] * 6,
]


def test_rewardbench_weighted_standard_error() -> None:
    y, w, strata = [], [], []
    for i, (section, n, weight) in enumerate(SUBSETS):
        right = int(0.8 * n)
        total = sum(other for s, _, other in SUBSETS if s == section)
        y += [1.0] * right + [0.0] * (n - right)
        w += [weight / total / 4 / n] * n
        strata += [i] * n
    score = float(np.dot(y, w))
    assert score == pytest.approx(0.7975275, abs=5e-8)
    assert stratified_se(np.array(y), np.array(w), strata)[0] == pytest.approx(0.0085470, abs=5e-8)
    assert np.sqrt(score * (1 - score) / len(y)) == pytest.approx(0.0073500, abs=6e-6)  # what it is not


def test_best_of_n_with_the_oracle_and_its_opposite() -> None:
    correct = np.array([[1.0] * 3 + [0.0] * 7])
    sizes = [1, 2, 5, 8]
    np.testing.assert_allclose(best_of_n(correct, correct, sizes)[0], [0.3, 0.5333, 0.9167, 1], atol=5e-5)
    np.testing.assert_allclose(pass_at_n(correct, sizes), best_of_n(correct, correct, sizes))
    np.testing.assert_allclose(best_of_n(-correct, correct, [1, 2, 3])[0], [0.3, 0.0667, 0.0083], atol=5e-5)


def test_best_of_n_shares_ties() -> None:
    rewards, correct = np.array([[0.1, 0.9, 0.5, 0.5]]), np.array([[0.0, 1, 1, 0]])
    np.testing.assert_allclose(best_of_n(rewards, correct, [1, 2, 3, 4])[0], [0.5, 0.75, 0.875, 1])
    constant = best_of_n(np.zeros((1, 5)), np.array([[1.0, 0, 0, 1, 0]]), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(constant[0], 0.4)


def test_minimum_detectable_effect() -> None:
    found = minimum_detectable_effect(2985, [0.02, 0.05, 0.10])
    np.testing.assert_allclose(100 * found, [0.72, 1.15, 1.62], atol=0.005)


@pytest.mark.parametrize(("n", "psi"), list(itertools.product([100, 1319, 2985], [0.1, 0.3])))
def test_the_closed_form_solves_the_equation(n: int, psi: float) -> None:
    z = stats.norm.ppf([0.975, 0.8])
    root = optimize.brentq(
        lambda d: z[0] * np.sqrt(psi) + z[1] * np.sqrt(psi - d * d) - d * np.sqrt(n), 0, np.sqrt(psi) - 1e-12
    )
    assert minimum_detectable_effect(n, psi) == pytest.approx(root)


def test_without_discordance_the_effect_must_bring_its_own() -> None:
    # psi = d: sqrt(d n) = z + z' sqrt(1 - d). At n = 100, d = .0767: 2.7695 on the left, 1.96 + .8416 * .9609 = 2.7687
    assert minimum_detectable_effect(100, 0.0) == pytest.approx(0.0767, abs=2e-4)
    assert np.isnan(minimum_detectable_effect(3, 0.0))


def test_agresti_min_by_hand() -> None:
    # 7 and 1 of 20: d' = 6/22, SE' = sqrt(9 - 36/22) / 22 = .1233455
    low, high = agresti_min(6 / 20, 8 / 20, 20)
    assert (low, high) == pytest.approx((6 / 22 - 1.959964 * 0.1233455, 6 / 22 + 1.959964 * 0.1233455), abs=1e-5)
    assert agresti_min(0.0, 0.0, 20)[0] < 0 < agresti_min(0.0, 0.0, 20)[1]
