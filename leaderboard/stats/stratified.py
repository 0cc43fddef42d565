"""Standard error of a weighted score: examples are a sample within each stratum (Cochran 1977, equation 5.6).

    SE = sqrt(sum_g W_g^2 s_g^2 / n_g),  W_g = sum of the weights in stratum g, s_g with ddof 1

Check: RewardBench's 23 subsets with floor(.8 n_g) right in each: score .7975275, SE .0085470 (a plain
binomial would say .0073500).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from leaderboard.stats._resample import Floats, block_variance, design, residual_units


def stratified_se(y: Floats, w: Floats, strata: npt.ArrayLike | None = None) -> Floats:
    """SE of sum_i w_i y_i in the units of the metric. y (n,) or (n, M), w and strata (n,); returns (M,).

    Strata of a single example are pooled; a single example in all has SE NaN.
    """
    plan = design(strata, None, len(w))
    return np.sqrt(block_variance(residual_units(y, w, plan), plan))
