"""Many comparisons at once: step-down max-T on sign flips (Westfall and Young 1993, algorithm 4.1).

All candidates' outcomes on a unit are flipped by one sign, so the tests keep their dependence. With z_j the
observed statistic of pair j (signflip.py) and z*_j under a flip, pairs ordered by falling z:

    adjusted p_(k) = max over i <= k of P(max over j >= i of z*_(j) >= z_(i)),   single step: the max over all j

Family-wise error is held at the level; being built on the same flips, the adjusted p is never below the raw.
Candidates are flipped and differences formed afterwards: M columns through the matrix product, not M^2/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leaderboard.stats._resample import ENUMERATE_UP_TO, TIE, Floats, Ints, Matrix, all_signs, sign_chunks


@dataclass(frozen=True, slots=True)
class MaxT:
    """P pairs in the order given; every array is (P,)."""

    statistic: Floats  # z, signed: positive where the pair's first is ahead
    raw: Floats  # p of the pair on its own
    single_step: Floats
    adjusted: Floats  # step-down: what to report


def all_pairs(count: int) -> Ints:
    """(count * (count - 1) / 2, 2) pairs i < j."""
    return np.stack(np.triu_indices(count, 1), axis=1).astype(np.int64)


def max_t(units: Floats, pairs: npt.ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> MaxT:
    """Step-down max-T for pairs of candidates.

    units: (C, M) weighted outcomes summed over each unit, one column a candidate; pairs: (P, 2) columns, the
    difference being first minus second. All 2^C flips up to 16 units, `resamples` random ones otherwise.
    """
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    if not len(first):
        return MaxT(*(np.zeros(0) for _ in range(4)))
    columns = np.asarray(units, dtype=np.float64)
    columns = columns - columns[:, :1]  # differences are all that counts, and small numbers sum exactly
    columns = columns / (np.abs(columns).max(initial=0.0) or 1.0)
    spread = _spread(columns, first, second)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    total = columns.sum(axis=0)
    z = (total[first] - total[second]) * scale
    order = np.argsort(-np.abs(z), kind="stable")
    hits, count, exact = np.zeros((3, len(z))), 0, len(columns) <= ENUMERATE_UP_TO
    chunks = [all_signs(len(columns))] if exact else sign_chunks(len(columns), resamples, seed)
    ranked = first[order], second[order], scale[order].astype(np.float32)
    bar = (np.abs(z[order]) * TIE).astype(np.float32)
    for signs in chunks:
        hits += _exceed(signs @ columns.astype(np.float32), *ranked, bar)
        count += len(signs)
    p = hits / count if exact else (hits + 1) / (count + 1)
    p[2] = np.maximum.accumulate(p[2])
    back = np.empty_like(p)
    back[:, order] = p
    return MaxT(z, back[0], back[1], back[2])


def _spread(columns: Floats, first: Ints, second: Ints) -> Floats:
    """sqrt(sum_c t_c^2) of each pair, exactly 0 for equal candidates."""
    return np.array([np.sqrt(np.sum((columns[:, i] - columns[:, j]) ** 2)) for i, j in zip(first, second, strict=True)])


def _exceed(sums: Matrix, first: Ints, second: Ints, scale: Matrix, bar: Matrix) -> Floats:
    """(3, P) counts for raw, single-step and step-down, over one chunk of flips; pairs by falling statistic."""
    z = sums[:, first]
    z -= sums[:, second]
    np.abs(z, out=z)
    z *= scale
    raw = (z >= bar).sum(axis=0)
    tail = np.maximum.accumulate(z[:, ::-1], axis=1)[:, ::-1]
    single = (tail[:, :1] >= bar).sum(axis=0)
    return np.stack([raw, single, (tail >= bar).sum(axis=0)]).astype(np.float64)
