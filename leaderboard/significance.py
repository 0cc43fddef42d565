"""All candidates of a task against each other, and a sweep against its reference: one call, one resampling.

`board` gives the overview and the significance matrix: bootstrap intervals, rank ranges, adjusted p of every pair.
`sweep` gives the honest numbers of a chosen lambda. Both join by example id and use only the examples that have
an outcome in every run, so hand in complete runs and keep partial ones apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard._errors import LeaderboardError
from leaderboard._join import join
from leaderboard._pairs import effective_size, used
from leaderboard.compare import Run
from leaderboard.metrics import PerExample, measured
from leaderboard.stats._resample import Floats, Ints, design, unit_sums
from leaderboard.stats.agresti_min import agresti_min
from leaderboard.stats.bootstrap import bootstrap_draws, percentile, percentile_pairs
from leaderboard.stats.maxt import MaxT, all_pairs, max_t
from leaderboard.stats.power import minimum_detectable_effect
from leaderboard.stats.ranks import RankRanges, enough_units, rank_ranges
from leaderboard.stats.selection import Selection, select_best
from leaderboard.stats.wilson import wilson


@dataclass(frozen=True, slots=True)
class Board:
    """M candidates on one metric, in the order given; pairs (P, 2) are i < j and differences i minus j."""

    key: str
    n: int  # examples shared by all
    units: int  # clusters among them
    dropped: int  # examples of the first run's metric that some run has no outcome for
    values: Floats  # (M,) on the shared examples
    low: Floats
    high: Floats
    ranks: RankRanges
    pairs: Ints
    difference: Floats  # (P,)
    difference_low: Floats
    difference_high: Floats
    tests: MaxT  # (P,) each: statistic, raw, single_step, adjusted
    mde: Floats  # (P,) minimum detectable effect, NaN where nothing is detectable
    level: float
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True)
class Shared:
    """Outcomes of M runs on the m examples that all of them have an outcome for."""

    y: Floats  # (m, M)
    part: PerExample  # (m,): weights, strata and clusters; y is the first run's
    dropped: int


def shared_outcomes(runs: Sequence[Run], key: str) -> Shared:
    """The runs' outcomes side by side, joined by example id; LeaderboardError where nothing is shared."""
    every = [measured(run) for run in runs]
    if not every:
        raise LeaderboardError(f"there is no run to rank by {key}")
    base = every[0]
    keep = base.flat(key)[1] > 0
    total = int(keep.sum())
    joins = [join(base, run) for run in every[1:]]
    for run, (mine, theirs) in zip(every[1:], joins, strict=True):
        seen = np.zeros(len(keep), bool)
        seen[mine] = run.flat(key)[1][theirs] > 0
        keep = keep & seen
    if not keep.any():
        raise LeaderboardError(f"no example of {base.data.task} has an outcome for {key} in all {len(every)} runs")
    part = base.per_example(key, keep)
    columns = [part.y]
    for run, (mine, theirs) in zip(every[1:], joins, strict=True):
        allowed = np.zeros(len(run.subset_codes), bool)
        allowed[theirs[keep[mine]]] = True
        aligned = np.full(len(keep), np.nan)
        aligned[mine] = run.flat(key, allowed)[0][theirs]
        columns.append(aligned)
    rows = part.w > 0
    return Shared(np.stack(columns, axis=1)[rows], used(part), total - int(rows.sum()))


def board(
    runs: Sequence[Run],
    key: str = "score",
    *,
    level: float = 0.95,
    power: float = 0.8,
    resamples: int = 10_000,
    seed: int = 0,
) -> Board:
    """Everything about M runs of one task on one metric. LeaderboardError as for `compare` and `shared_outcomes`."""
    shared = shared_outcomes(runs, key)
    y, part = shared.y, shared.part
    plan = design(None, part.clusters, len(part.w))
    units = unit_sums(part.w[:, None] * y, plan.units, plan.count)
    values, pairs, size = part.w @ y, all_pairs(y.shape[1]), effective_size(part)
    draws = bootstrap_draws(y, part.w, part.strata, part.clusters, resamples=resamples, seed=seed)
    low, high = _or(percentile(draws, values, level), wilson(values * size, size, level))
    gaps, psi = values[pairs[:, 0]] - values[pairs[:, 1]], _discordance(units, pairs) * size
    edges = _or(percentile_pairs(draws, values, pairs, level), agresti_min(gaps, psi, size, level))
    return Board(
        key=key,
        n=len(part.w),
        units=plan.count,
        dropped=shared.dropped,
        values=values,
        low=np.maximum(low, 0.0),
        high=np.minimum(high, 1.0),
        ranks=rank_ranges(values, draws, level=level, decidable=enough_units(units, level)),
        pairs=pairs,
        difference=gaps,
        difference_low=edges[0],
        difference_high=edges[1],
        tests=max_t(units, pairs, resamples=resamples, seed=seed),
        mde=minimum_detectable_effect(size, psi, level=level, power=power),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def sweep(
    runs: Sequence[Run], key: str = "score", *, reference: int = 0, resamples: int = 10_000, seed: int = 0
) -> Selection:
    """The best of a sweep's runs against `runs[reference]` (lambda 0), with honest p and effect; see selection.py."""
    shared = shared_outcomes(runs, key)
    part = shared.part
    return select_best(
        shared.y, part.w, part.strata, part.clusters, reference=reference, resamples=resamples, seed=seed
    )


def _discordance(units: Floats, pairs: Ints) -> Floats:
    """(P,) sum over units of the squared difference, one pair after the other: P x C floats would be too many."""
    return np.array([float(((units[:, i] - units[:, j]) ** 2).sum()) for i, j in pairs])


def _or(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The first interval, or the second where the first has no width: nothing varied, which is not certainty."""
    flat = first[1] - first[0] < 1e-9
    return np.where(flat, second[0], first[0]), np.where(flat, second[1], first[1])
