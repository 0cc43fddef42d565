"""The best lambda, picked on the test set, without flattering it.

Looking at a whole sweep and testing the winner as if it were the only candidate has a type-I error of .2 or more
at .05 (21 lambdas; tests/stats/test_calibration.py). Three numbers instead:

    p           of the winner against the reference, adjusted for the whole sweep by step-down max-T
    effect      5-fold cross-validated choice: each fold's gain under the lambda that the other folds choose
                (Stone 1974), averaged over repeated splits of whole units
    optimistic  the maximum over the sweep minus the reference: biased upwards, shown only under that label

and the bootstrap's own estimate of the optimism (Efron 1983): how much better the chosen lambda looks on a draw
than on the data the draw came from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leaderboard.stats._resample import Design, Floats, Ints, as_columns, design, unit_sums
from leaderboard.stats.bootstrap import bootstrap_draws
from leaderboard.stats.maxt import max_t
from leaderboard.stats.power import minimum_detectable_effect


@dataclass(frozen=True, slots=True)
class Selection:
    """What can be said about the best of a sweep; effects are fractions, candidate minus reference."""

    best: int  # column with the highest metric (the first of equals; the reference may win)
    p: float  # adjusted p of `best`; 1 where it is the reference
    effect: float  # cross-validated
    low: float  # normal interval of the cross-validated effect, given the choices made
    high: float
    bias_corrected: float  # optimistic minus the bootstrap's estimate of the optimism
    optimistic: float  # the naive maximum: never report without this label
    mde: float  # of the winner (of the best rival where the reference wins) against the reference, in one comparison
    adjusted: Floats  # (M,) adjusted p of each column; 1 at the reference
    chosen: Floats  # (M,) share of the folds that chose each column


def select_best(
    y: Floats,
    w: Floats,
    strata: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    *,
    reference: int = 0,
    folds: int = 5,
    repeats: int = 20,
    resamples: int = 10_000,
    seed: int = 0,
) -> Selection:
    """The sweep's honest numbers. y (n, M) outcomes, one column a lambda; `reference` is lambda 0's column.

    w, strata and clusters are (n,), as for the other methods. Raises ValueError for an unknown reference.
    """
    outcomes = as_columns(y)
    count = outcomes.shape[1]
    if not 0 <= reference < count:
        raise ValueError(f"reference {reference} is not a column of 0..{count - 1}")
    plan = design(strata, clusters, len(w))
    gains = unit_sums(w[:, None] * (outcomes - outcomes[:, [reference]]), plan.units, plan.count)
    others = np.array([i for i in range(count) if i != reference], dtype=np.int64)
    pairs = np.stack([others, np.full_like(others, reference)], axis=1)
    adjusted = np.ones(count)
    adjusted[others] = max_t(gains, pairs, resamples=resamples, seed=seed).adjusted
    total = gains.sum(axis=0)
    best = int(total.argmax())
    rival = best if best != reference or not len(others) else int(others[total[others].argmax()])
    held_out, chosen = _cross_validated(gains, plan.blocks, folds, repeats, seed)
    half = 1.959963984540054 * _spread(held_out, plan.blocks)
    effect = float(held_out.sum())
    draws = bootstrap_draws(outcomes, w, strata, clusters, resamples=resamples, seed=seed)
    optimism = _optimism(draws - draws[:, [reference]], total)
    return Selection(
        best=best,
        p=float(adjusted[best]),
        effect=effect,
        low=effect - half,
        high=effect + half,
        bias_corrected=float(total[best]) - optimism,
        optimistic=float(total[best]),
        mde=_detectable(w, gains[:, rival], plan),
        adjusted=adjusted,
        chosen=chosen,
    )


def _detectable(w: Floats, gains: Floats, plan: Design) -> float:
    """Minimum detectable effect of one column's gains (C,), with the effective number of units; see power.py."""
    mass = np.bincount(plan.units, w, minlength=plan.count)
    size = float(mass.sum() ** 2 / (mass**2).sum())
    return float(minimum_detectable_effect(size, size * float((gains**2).sum())))


def _cross_validated(gains: Floats, blocks: Ints, folds: int, repeats: int, seed: int) -> tuple[Floats, Floats]:
    """((C,) held-out gain of each unit averaged over repeats, (M,) share of folds choosing each column)."""
    rng = np.random.default_rng([seed, 1])
    count, columns = gains.shape
    held_out, chosen = np.zeros(count), np.zeros(columns)
    for _ in range(repeats):
        fold = _folds(blocks, folds, rng)
        sums = unit_sums(gains, fold, folds)
        picks = (gains.sum(axis=0) - sums).argmax(axis=1)
        held_out += gains[np.arange(count), picks[fold]] / repeats
        chosen += np.bincount(picks, minlength=columns) / (folds * repeats)
    return held_out, chosen


def _folds(blocks: Ints, folds: int, rng: np.random.Generator) -> Ints:
    """(C,) fold of each unit: within a block the folds are as equal as can be, at a random start."""
    order = np.lexsort((rng.random(len(blocks)), blocks))
    fold = np.empty(len(blocks), np.int64)
    fold[order] = np.arange(len(blocks)) % folds
    return fold


def _spread(held_out: Floats, blocks: Ints) -> float:
    """Standard error of the sum over units, drawn within their blocks."""
    size = np.bincount(blocks)[blocks].astype(np.float64)
    mean = (np.bincount(blocks, held_out) / np.maximum(np.bincount(blocks), 1))[blocks]
    return float(np.sqrt(np.sum(size / np.maximum(size - 1, 1) * (held_out - mean) ** 2)))


def _optimism(deviations: npt.NDArray[np.float32], total: Floats) -> float:
    """Mean over draws of how much the column that wins the draw gained by the draw; never below 0 (noise)."""
    picks = (deviations + total.astype(np.float32)).argmax(axis=1)
    return max(0.0, float(deviations[np.arange(len(picks)), picks].mean(dtype=np.float64)))
