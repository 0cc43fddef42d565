"""Two candidates on the same examples, equal weights: McNemar's test on the discordant pairs.

b examples only the first gets right, c only the second; under equality b ~ Binomial(b + c, 1/2).

    exact       2 P(X <= min(b, c)), at most 1
    mid-p       exact minus P(X = min(b, c)); 1 - P(X = b)/2 where b = c   (Fagerland et al. 2013: nearer the
                nominal level than exact, and never far above it)
    chi-square  (b - c)^2 / (b + c), with continuity correction (|b - c| - 1)^2 / (b + c); for reference only

Check: b, c = 1, 7: exact .0703125, mid-p .0390625.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from leaderboard.stats._paired import Paired

Floats = npt.NDArray[np.float64]


def mcnemar_exact(b: npt.ArrayLike, c: npt.ArrayLike) -> Floats:
    """Two-sided exact p; b and c are discordant counts and broadcast. No discordant pair gives 1."""
    low, total = _low_total(b, c)
    return np.asarray(np.minimum(1.0, 2 * stats.binom.cdf(low, total, 0.5)), dtype=np.float64)


def mcnemar_midp(b: npt.ArrayLike, c: npt.ArrayLike) -> Floats:
    """Two-sided mid-p; b and c are discordant counts and broadcast. No discordant pair gives 1."""
    low, total = _low_total(b, c)
    point = stats.binom.pmf(low, total, 0.5)
    middle = np.where(2 * low == total, 1 - point / 2, 2 * stats.binom.cdf(low, total, 0.5) - point)
    return np.where(total == 0, 1.0, middle)


def mcnemar_chi_square(b: npt.ArrayLike, c: npt.ArrayLike, *, corrected: bool = False) -> tuple[Floats, Floats]:
    """(statistic, p) of the asymptotic test with one degree of freedom; (0, 1) without discordant pairs."""
    low, total = _low_total(b, c)
    gap = np.maximum(total - 2 * low - (1 if corrected else 0), 0).astype(np.float64)
    statistic = gap**2 / np.maximum(total, 1)
    return statistic, stats.chi2.sf(statistic, 1)


def _low_total(b: npt.ArrayLike, c: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    first, second = np.asarray(b, np.int64), np.asarray(c, np.int64)
    return np.minimum(first, second), first + second


class _McNemar:
    title = "McNemar exact"

    def applies(self, paired: Paired) -> npt.NDArray[np.bool_]:
        return paired.plain

    def p_values(self, paired: Paired, *, resamples: int, seed: int) -> Floats:  # noqa: ARG002
        return mcnemar_exact(paired.wins, paired.losses)


TEST = _McNemar()
