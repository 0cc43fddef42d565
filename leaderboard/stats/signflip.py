"""Two candidates, weights or partial credit or clusters: the paired sign-flip permutation test.

Under equality each unit's difference t_c is as likely to be -t_c. The statistic is studentised,

    z = |sum_c s_c t_c| / sqrt(sum_c t_c^2),

which orders sign patterns exactly as the t statistic does, because sum t^2 does not change with the signs
(Fisher 1935; Romano 1990 for the studentised version). p is the share of patterns at least as extreme:
all 2^C of them up to 16 units, (k + 1) / (B + 1) from B random ones otherwise.

Check: Darwin's 15 paired plants: 863 of 32,768 patterns one-sided, 1,726 two-sided.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from leaderboard.stats._paired import Paired
from leaderboard.stats._resample import ENUMERATE_UP_TO, TIE, Floats, all_signs, as_columns, sign_chunks


def sign_flip(
    differences: Floats,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    alternative: Literal["two-sided", "greater"] = "two-sided",
) -> Floats:
    """p-values (P,) of the columns of `differences` (C, P): each unit's weighted difference.

    All columns share the sign patterns, one matrix product a chunk. A column of zeros has p = 1.
    """
    t = as_columns(differences)
    peak = np.abs(t).max(axis=0, initial=0.0)
    scaled = t / np.where(peak > 0, peak, 1.0)  # equal weights become exact integers in float32
    observed = scaled.sum(axis=0)
    exact = len(t) <= ENUMERATE_UP_TO
    chunks = [all_signs(len(t))] if exact else sign_chunks(len(t), resamples, seed)
    hits, total = np.zeros(t.shape[1]), 0
    for signs in chunks:
        sums = signs @ scaled.astype(np.float32)
        hits += _extreme(sums, observed, alternative).sum(axis=0)
        total += len(signs)
    return hits / total if exact else (hits + 1) / (total + 1)


def _extreme(sums: npt.NDArray[np.float32], observed: Floats, alternative: str) -> npt.NDArray[np.bool_]:
    if alternative == "greater":
        slack = np.abs(observed) * (1 - TIE)
        return np.asarray(sums >= observed - slack)
    return np.asarray(np.abs(sums) >= np.abs(observed) * TIE)


class _SignFlip:
    title = "paired sign-flip permutation"

    def applies(self, paired: Paired) -> npt.NDArray[np.bool_]:
        return np.ones(paired.differences.shape[1], bool)

    def p_values(self, paired: Paired, *, resamples: int, seed: int) -> Floats:
        return sign_flip(paired.differences, resamples=resamples, seed=seed)


TEST = _SignFlip()
