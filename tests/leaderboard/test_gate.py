"""The gate's statistics: published values, hand calculation, and what it does over many nights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from leaderboard._errors import LeaderboardError
from leaderboard.compare import compare
from leaderboard.flips import flips
from leaderboard.gate import Gate, Rule, judge, p_not_worse, p_worse, smallest_loss
from leaderboard.stats.tango import tango_z
from results.records import RunRewards

Make = Callable[..., RunRewards]


@pytest.fixture
def pair(make_run: Make) -> Callable[[int, int, int], tuple[RunRewards, RunRewards]]:
    """pair(b, c, n): two runs of n preference pairs; b only the first gets right, c only the second."""

    def make(b: int, c: int, n: int) -> tuple[RunRewards, RunRewards]:
        first = [1] * b + [0] * c + [1] * (n - b - c)
        second = [0] * b + [1] * c + [1] * (n - b - c)
        return tuple(make_run([[y, 0.5] for y in ys], [[1, 0]] * n) for ys in (first, second))  # type: ignore[return-value]

    return make


def test_tango_published_values() -> None:
    assert tango_z(0, 1, 44, -0.1) == pytest.approx(1.709, abs=5e-4)  # Tango 1998: p = .044
    assert stats.norm.sf(tango_z(0, 1, 44, -0.1)) == pytest.approx(0.044, abs=5e-4)
    low, high = (optimize.brentq(lambda d, s=s: tango_z(1, 7, 21, d) - s * 1.959964, *ends)
                 for s, ends in ((1, (-0.9, -0.3)), (-1, (-0.28, 0.5))))  # fmt: skip
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)  # Fagerland et al. 2014, airway reactivity


@pytest.mark.parametrize(("b", "c"), [(1, 7), (30, 23), (86, 150), (3, 0)])
def test_tango_at_zero_is_mcnemars_chi_square(b: int, c: int) -> None:
    assert tango_z(b, c, 400, 0.0) == pytest.approx((b - c) / np.sqrt(b + c))


@pytest.mark.parametrize(("b", "c", "n", "delta"), [(10, 25, 300, -0.02), (25, 10, 300, 0.03), (1, 9, 50, -0.1)])
def test_tango_uses_the_restricted_maximum_of_the_likelihood(b: int, c: int, n: int, delta: float) -> None:
    def loss(q: float) -> float:
        return -(b * np.log(q + delta) + c * np.log(q) + (n - b - c) * np.log(1 - 2 * q - delta))

    q = optimize.minimize_scalar(loss, bounds=(max(0, -delta) + 1e-9, (1 - delta) / 2 - 1e-9), options={"xatol": 1e-12},
                                 method="bounded").x  # fmt: skip
    expected = (b - c - n * delta) / np.sqrt(n * (2 * q + delta - delta**2))
    assert tango_z(b, c, n, delta) == pytest.approx(expected, rel=1e-4)


def test_without_a_discordant_pair_the_number_of_pairs_decides(pair: Any) -> None:
    # z = sqrt(n m / (1 - m)): sqrt(1319 * .005 / .995) = 2.5745, sqrt(20 * .005 / .995) = .317
    assert p_not_worse(compare(*pair(0, 0, 1319)), 0.005) == pytest.approx(stats.norm.sf(2.57451), rel=1e-4)
    assert p_not_worse(compare(*pair(0, 0, 20)), 0.005) == pytest.approx(stats.norm.sf(0.31702), rel=1e-4)
    assert tango_z(0, 0, 20, 0.0) == 0


def test_at_margin_zero_the_exact_test_decides(pair: Any) -> None:
    # McNemar 1/7: exact two-sided .0703125, so one-sided .03515625; the score test alone would say .0169
    assert p_worse(compare(*pair(1, 7, 21)), 0.0) == pytest.approx(0.03515625)
    assert p_worse(compare(*pair(7, 1, 21)), 0.0) > 0.96


def verdicts(gate: Gate[str]) -> dict[str, str]:
    return {key: decision.verdict for key, decision in gate.decisions.items()}


def test_three_verdicts(pair: Any) -> None:
    shown = {
        "much worse": compare(*pair(10, 60, 1000)),  # -5 points
        "same": compare(*pair(10, 10, 3000)),
        "cannot tell": compare(*pair(20, 22, 300)),
        "worse by less than the margin": compare(*pair(0, 40, 100_000)),  # -.04 points, p(zero) 2e-12
    }
    found = verdicts(judge(shown, Rule(margin=0.005)))
    assert found == {
        "much worse": "regression",
        "same": "not worse",
        "cannot tell": "inconclusive",
        "worse by less than the margin": "not worse",
    }
    assert judge(shown).verdict == "regression"
    assert verdicts(judge(shown, Rule(margin=0.0)))["worse by less than the margin"] == "regression"


def test_holm_over_the_tasks(pair: Any) -> None:
    alone = compare(*pair(5, 16, 200))  # exact one-sided p .0133, so .0531 as the smallest of four
    assert stats.binom.cdf(5, 21, 0.5) == pytest.approx(0.0133, abs=5e-5)
    rule = Rule(margin=0.0)
    assert judge({"a": alone}, rule).verdict == "regression"
    equal = compare(*pair(6, 6, 200))
    four = judge({"a": alone, "b": equal, "c": equal, "d": equal}, rule)
    assert four.decisions["a"].p_worse_adjusted == pytest.approx(4 * four.decisions["a"].p_worse)
    assert four.verdict == "inconclusive"
    # what is identical is no test, so it costs no power
    assert judge({"a": alone, "b": equal}, rule, identical=["b"]).verdict == "regression"


def test_identical_content_and_nothing_shared(pair: Any) -> None:
    tiny = compare(*pair(0, 0, 3))
    assert judge({"a": tiny}, identical=["a"]).verdict == "identical"
    assert judge({"a": tiny}).verdict == "inconclusive"
    assert judge({}).verdict == "inconclusive"
    assert judge({"a": tiny, "b": compare(*pair(0, 0, 5000))}, identical=["a"]).verdict == "not worse"


def test_weighted_scores_use_effective_counts(make_run: Make) -> None:
    labels, subsets = [[1, 0]] * 300, ["x"] * 200 + ["y"] * 100
    metrics = [{"key": "score", "parts": [["subset/x", 3.0], ["subset/y", 1.0]], "outcome": "accuracy"}]
    first = [[0.0 if i % 20 == 0 else 1.0, 0.5] for i in range(300)]
    a, b = (make_run(r, labels, subsets, metrics=metrics) for r in (first, [[1.0, 0.5]] * 300))
    found = compare(a, b)
    # w = .75/200 and .25/100: 1 / (200 w1^2 + 100 w2^2) = 290.9 effective pairs, all differences -1 or 0
    assert found.size == pytest.approx(1 / (200 * 0.00375**2 + 100 * 0.0025**2))
    assert found.difference == pytest.approx(-0.05)
    assert found.discordance == pytest.approx(found.size * (10 * 0.00375**2 + 5 * 0.0025**2))
    assert judge({"t": found}, Rule(margin=0.005)).verdict == "regression"


def test_partial_credit_that_never_varies_is_judged_on_the_safe_side(make_run: Make) -> None:
    labels = [[1, 0, 0, 0]] * 30  # ties: half the credit each time
    a = make_run([[1.0, 1.0, 0.0, 0.0]] * 30, labels, outcome="best_of_n")
    b = make_run([[1.0, 0.0, 0.0, 0.0]] * 30, labels, outcome="best_of_n")
    found = compare(a, b, "bon/4")
    assert found.difference == pytest.approx(-0.5)
    assert judge({"t": found}).verdict == "regression"
    # mean square .25 below the mean's size .5: as many losses as the mean says, none won, none below zero
    assert found.discordance == pytest.approx(0.25)
    assert p_not_worse(found, 0.005) == pytest.approx(stats.norm.sf(tango_z(0, 15, 30, -0.005)))


def test_the_smallest_loss_is_mostly_seen() -> None:
    rng, rule, n, psi = np.random.default_rng(0), Rule(margin=0.005), 1319, 0.06

    class Fake:
        size, discordance = n, psi

    loss = smallest_loss(Fake, rule, 1)  # type: ignore[arg-type]
    cells = [(psi - loss) / 2, (psi + loss) / 2, 1 - psi]
    b, c, _ = rng.multinomial(n, cells, 4000).T
    fired = stats.norm.cdf(tango_z(b, c, n, -rule.margin)) <= rule.alpha
    assert 0.75 < fired.mean() < 0.85


def test_flipped_examples_by_size_of_change(make_run: Make) -> None:
    labels = [[1, 0]] * 4
    a = make_run([[1, 0], [0, 1], [1, 0], [0, 1]], labels, ids=["p", "q", "r", "s"])
    b = make_run([[0, 1], [1, 0], [1, 0], [1, 0]], labels, ids=["p", "q", "r", "s"])
    found = flips(a, b)
    assert (found.better, found.worse, found.same) == (("p",), ("q", "s"), 1)


@pytest.mark.parametrize("bad", [{"margin": -0.1}, {"margin": 1.0}, {"margin": float("nan")}, {"alpha": 0.5},
                                 {"alpha": 0.0}])  # fmt: skip
def test_rules_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(LeaderboardError, match=r"margin|alpha"):
        Rule(**bad)
