"""Rank ranges: simultaneous confidence sets for ranks (Mogstad, Romano, Shaikh, Wilhelm 2024, section 3, step-down).

Candidate i is significantly ahead of j where theta_i - theta_j > q se_ij. q is the (1 - level) quantile of the
largest (deviation_i - deviation_j) / se_ij over the ordered pairs not yet decided; deciding pairs shrinks that
set, and the step is repeated until nothing more is decided. With probability `level` every candidate's true rank
lies in

    1 + #(candidates significantly ahead)  ..  M - #(candidates significantly behind)

all at once. A candidate whose range starts at 1 cannot be ruled out as best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leaderboard.stats._resample import Floats, Ints, Matrix

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RankRanges:
    """M candidates."""

    low: Ints  # (M,) best rank that is not ruled out, 1 for the best
    high: Ints  # (M,) worst rank that is not ruled out
    ahead: Bools  # (M, M) ahead[i, j]: i is significantly ahead of j


def rank_ranges(values: Floats, draws: Matrix, *, level: float = 0.95, decidable: Bools | None = None) -> RankRanges:
    """Ranges from values (M,) and bootstrap deviations (B, M); higher is better, and equal values share ranks.

    `decidable` (M, M) may forbid decisions on pairs that too few units tell apart (see `enough_units`).
    """
    count = len(values)
    gaps = values[:, None] - values[None, :]
    spread = _spread(draws)
    allowed = np.ones((count, count), bool) if decidable is None else decidable
    ahead = (spread == 0) & (gaps > 0) & allowed  # every unit says the same, and there are enough of them
    open_pairs = (spread > 0) & allowed
    while open_pairs.any():
        bar = _quantile_of_largest(draws, spread, open_pairs, level)
        found = open_pairs & (gaps > bar * spread)
        if not found.any():
            break
        ahead |= found
        open_pairs &= ~found
    low, high = 1 + ahead.sum(axis=0), count - ahead.sum(axis=1)
    return RankRanges(low.astype(np.int64), high.astype(np.int64), ahead)


def enough_units(units: Floats, level: float = 0.95) -> Bools:
    """(M, M): whether enough units tell two candidates apart for any two-sided exact test to reach the level.

    units (C, M). With d differing units the smallest possible p is 2^(1-d): six are needed at .05. Without this,
    a handful of examples that all agree would have no spread and decide everything.
    """
    count = units.shape[1]
    differing = np.array([[int((units[:, i] != units[:, j]).sum()) for j in range(count)] for i in range(count)])
    return np.asarray(np.exp2(1.0 - differing.reshape(count, count)) <= 1 - level)


def _spread(draws: Matrix) -> Floats:
    """(M, M) standard deviations of the differences of columns; exactly 0 for equal columns."""
    centred = draws - draws.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = np.ascontiguousarray(centred.T)
    out = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        out[i, i + 1 :] = np.sqrt(np.mean((rows[i + 1 :] - row) ** 2, axis=1, dtype=np.float64))
    return out + out.T


def _quantile_of_largest(draws: Matrix, spread: Floats, open_pairs: Bools, level: float) -> float:
    first, second = np.nonzero(open_pairs)
    scale = (1 / spread[first, second]).astype(np.float32)
    largest = [
        ((chunk[:, first] - chunk[:, second]) * scale).max(axis=1)
        for chunk in (draws[start : start + 500] for start in range(0, len(draws), 500))
    ]
    return float(np.quantile(np.concatenate(largest), level))
