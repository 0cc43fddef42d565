"""Standard error where examples repeat one problem: the problem is the unit of sampling (Miller 2024, section 2.2).

    SE = sqrt(C/(C-1) * sum_c (sum_{i in c} (x_i - mean))^2) / n

for a plain mean of n examples in C clusters, which is statsmodels' OLS cov_type="cluster" with the correction
C/(C-1) alone. With weights and strata the residual is w_i (x_i - mean of i's stratum), and the sum and the
correction are taken within blocks of strata that share clusters.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from leaderboard.stats._resample import Floats, block_variance, design, residual_units


def clustered_se(
    y: Floats, clusters: npt.ArrayLike, w: Floats | None = None, strata: npt.ArrayLike | None = None
) -> Floats:
    """SE of sum_i w_i y_i, equal weights 1/n where w is None. y (n,) or (n, M), the rest (n,); returns (M,).

    One cluster in all has SE NaN. Without repeated clusters this is `stratified_se`.
    """
    n = len(y)
    weights = np.full(n, 1 / max(n, 1)) if w is None else w
    plan = design(strata, clusters, n)
    return np.sqrt(block_variance(residual_units(y, weights, plan), plan))
