"""Intervals by resampling: the paired stratified percentile bootstrap (Efron 1979), by cluster where there are any.

Units are drawn with replacement within their block, the same draw for every candidate:

    draw_b = metric + sum_c (k_bc - 1) t_c      (t_c: residuals of unit c, see _resample.py)

One matrix product gives all candidates' draws; a difference's draws are the difference of two columns. The
interval is the (1 -+ level)/2 quantiles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from leaderboard.stats._resample import Floats, Ints, Matrix, as_columns, design, draw_chunks, residual_units


def bootstrap_draws(
    y: Floats,
    w: Floats,
    strata: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Matrix:
    """(resamples, M) draws of the deviation of each candidate's metric from its value, in the metric's units.

    y (n, M) outcomes, one column a candidate; w, strata, clusters (n,). Add the metric to get draws of it.
    """
    plan = design(strata, clusters, len(w))
    t = residual_units(as_columns(y), w, plan).astype(np.float32)
    out = np.empty((resamples, t.shape[1]), np.float32)
    done = 0
    for counts in draw_chunks(plan.blocks, resamples, seed):
        out[done : done + len(counts)] = counts @ t
        done += len(counts)
    return out


def percentile(draws: Matrix, values: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """(low, high), each (M,): draws (B, M) of deviations and the values (M,) they belong to."""
    low, high = _quantiles(draws, level)
    return values + low, values + high


def percentile_pairs(draws: Matrix, values: Floats, pairs: Ints, level: float = 0.95) -> tuple[Floats, Floats]:
    """(low, high), each (P,), of the differences values[i] - values[j] for pairs (P, 2)."""
    low, high = np.empty((2, len(pairs)))
    for start in range(0, len(pairs), 256):  # columns at a time: B x P floats would be the largest array of all
        first, second = pairs[start : start + 256].T
        edges = _quantiles(draws[:, first] - draws[:, second], level)
        low[start : start + 256], high[start : start + 256] = (values[first] - values[second]) + np.stack(edges)
    return low, high


def _quantiles(draws: Matrix, level: float) -> tuple[Floats, Floats]:
    """Quantiles by column; sorting contiguous rows is faster than numpy's quantile along the first axis."""
    columns = np.ascontiguousarray(draws.T)
    last = draws.shape[0] - 1
    where = [(1 - level) / 2 * last, (1 + level) / 2 * last]
    below = [int(np.floor(position)) for position in where]
    kept = sorted({i for b in below for i in (b, min(b + 1, last))})
    columns.partition(kept, axis=1)
    low, high = (
        columns[:, b] + np.float64(position - b) * (columns[:, min(b + 1, last)] - columns[:, b].astype(np.float64))
        for b, position in zip(below, where, strict=True)
    )
    return low, high
