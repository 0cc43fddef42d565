"""The gate: is a candidate worse than its baseline by more than a margin? Pure numbers, from paired comparisons.

With d the true difference (candidate minus baseline) and m the margin, both as fractions, two one-sided tests share
the boundary d = -m:

    regression   H0: d >= -m is rejected at alpha, Holm-adjusted over all comparisons of the call
    not worse    H0: d <= -m is rejected at alpha (non-inferiority)
    inconclusive neither: the data cannot tell

so at most one can hold. The test is Tango's score test on the effective counts of the comparison; a regression
must moreover be proven against zero by the comparison's own paired test (McNemar exact or sign flip), one-sided. As
d < -m implies d < 0, the larger of the two p keeps the level, and the exact test guards it where counts are small.

"Not worse on every task" is claimed only where every single test rejects, so it needs no adjustment (an
intersection-union test); "worse somewhere" is claimed if any does, so it does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from scipy import stats

from leaderboard._errors import LeaderboardError
from leaderboard.compare import Comparison
from leaderboard.stats.holm import holm
from leaderboard.stats.power import minimum_detectable_effect
from leaderboard.stats.tango import tango_z

REGRESSION, NOT_WORSE, INCONCLUSIVE, IDENTICAL = "regression", "not worse", "inconclusive", "identical"
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as worse. `margin` is a fraction (0.005 is half a percentage point), `alpha` one-sided."""

    margin: float = 0.005
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise LeaderboardError(f"a margin of {100 * self.margin:g} points: give at least 0 and less than 100")
        if not 0 < self.alpha < 0.5:
            raise LeaderboardError(f"alpha {self.alpha:g}: give a level above 0 and below .5")


@dataclass(frozen=True, slots=True)
class Decision:
    """One comparison, judged."""

    verdict: str
    p_worse: float  # of H0: d >= -margin; NaN where nothing was compared
    p_worse_adjusted: float  # Holm over the comparisons that were tested
    p_not_worse: float  # of H0: d <= -margin
    seen: float  # the smallest loss (fraction) that would mostly (power 80%) be called a regression; NaN: none


@dataclass(frozen=True, slots=True)
class Gate(Generic[Key]):
    """All comparisons of one call, and what they say together."""

    verdict: str
    decisions: Mapping[Key, Decision]


def judge(
    comparisons: Mapping[Key, Comparison], rule: Rule | None = None, identical: Collection[Key] = ()
) -> Gate[Key]:
    """Judge comparisons of candidate minus baseline. `identical`: keys where both are one and the same content, for
    which there is nothing to test."""
    rule = rule or Rule()
    tested = [key for key, c in comparisons.items() if key not in identical and c.n]
    worse = {key: p_worse(comparisons[key], rule.margin) for key in tested}
    adjusted = dict(zip(tested, holm([worse[key] for key in tested]).tolist(), strict=True)) if tested else {}
    decisions = {}
    for key, comparison in comparisons.items():
        if key in identical:
            decisions[key] = Decision(IDENTICAL, np.nan, np.nan, np.nan, np.nan)
        elif key not in worse:
            decisions[key] = Decision(INCONCLUSIVE, np.nan, np.nan, np.nan, np.nan)
        else:
            fine = p_not_worse(comparison, rule.margin)
            verdict = REGRESSION if adjusted[key] <= rule.alpha else NOT_WORSE if fine <= rule.alpha else INCONCLUSIVE
            seen = smallest_loss(comparison, rule, len(tested))
            decisions[key] = Decision(verdict, worse[key], adjusted[key], fine, seen)
    return Gate(_together([d.verdict for d in decisions.values()]), decisions)


def _together(verdicts: Collection[str]) -> str:
    for verdict in (REGRESSION, INCONCLUSIVE, NOT_WORSE):
        if verdict in verdicts:
            return verdict
    return IDENTICAL if verdicts else INCONCLUSIVE


def p_worse(comparison: Comparison, margin: float) -> float:
    """One-sided p of H0: d >= -margin: the larger of the score test's and the paired test's against zero."""
    against_zero = comparison.p / 2 if comparison.difference < 0 else 1 - comparison.p / 2
    return max(float(stats.norm.cdf(_z(comparison, margin))), against_zero)


def p_not_worse(comparison: Comparison, margin: float) -> float:
    """One-sided p of H0: d <= -margin."""
    return float(stats.norm.sf(_z(comparison, margin)))


def _z(comparison: Comparison, margin: float) -> float:
    """Tango's z at d = -margin, on effective counts with the comparison's mean and mean square."""
    size, d = comparison.size, comparison.difference
    psi = max(comparison.discordance, abs(d))  # partial credit can lie below: counts stay counts, on the safe side
    return float(tango_z(size * (psi + d) / 2, size * (psi - d) / 2, size, -margin))


def smallest_loss(comparison: Comparison, rule: Rule, tests: int) -> float:
    """margin + minimum detectable effect of a one-sided test at alpha / tests (Holm's first step)."""
    level = 1 - 2 * rule.alpha / max(tests, 1)
    found = minimum_detectable_effect(comparison.size, comparison.discordance, level=level)
    return rule.margin + float(found)
