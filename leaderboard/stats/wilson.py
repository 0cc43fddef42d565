"""Confidence interval of a proportion: Wilson's score interval (Wilson 1927).

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n),  p = k/n, z the normal quantile

It inverts the score test, so it stays inside 0..1 and has width where p is 0 or 1. Check: 81/263 gives
(.2553, .3662); scipy.stats.binomtest(k, n).proportion_ci(method="wilson") gives the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


def wilson(successes: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """(low, high) as fractions; successes and n broadcast and may be fractional (an effective sample size).

    n = 0 gives (0, 1): nothing is known.
    """
    k, size = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    z = float(stats.norm.ppf(0.5 + level / 2))
    safe = np.where(size > 0, size, 1.0)
    p = k / safe
    centre = p + z**2 / (2 * safe)
    half = z * np.sqrt(np.maximum(p * (1 - p), 0) / safe + z**2 / (4 * safe**2))
    scale = 1 + z**2 / safe
    low = np.where((size > 0) & (k > 0), np.maximum((centre - half) / scale, 0), 0.0)
    high = np.where((size > 0) & (k < size), np.minimum((centre + half) / scale, 1), 1.0)
    return low, high
