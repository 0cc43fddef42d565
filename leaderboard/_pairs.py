"""One metric of two joined runs, example by example: what every paired statistic starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leaderboard._join import join
from leaderboard.metrics import Measured, PerExample
from leaderboard.stats._paired import Paired
from leaderboard.stats._resample import Floats, Ints, unit_sums


@dataclass(frozen=True, slots=True)
class Column:
    """One (run, key) on the m shared examples that count; all arrays are (m,)."""

    key: str
    a: Floats  # the run's outcomes
    b: Floats  # the baseline's
    part: PerExample  # y is a - b; weights made anew on the shared examples
    rows: Ints  # the baseline's rows
    whole: bool  # no example of either run had to be left out

    @property
    def binary(self) -> bool:
        """Every outcome is 0 or 1."""
        return bool(np.isin(self.a, (0.0, 1.0)).all() and np.isin(self.b, (0.0, 1.0)).all())

    @property
    def simple(self) -> bool:
        """Equal weights, outcomes 0 or 1, no clusters: McNemar holds."""
        return self.binary and equal_weights(self.part) and not repeats(self.part)


class Pair:
    """A run joined to the baseline, once for all keys."""

    def __init__(self, run: Measured, base: Measured) -> None:
        self.run, self.base = run, base
        self.mine, self.theirs = join(run, base)

    def column(self, key: str) -> Column:
        """The metric on the examples with an outcome in both runs; LeaderboardError for an unknown key."""
        used = self.run.flat(key)[1] > 0, self.base.flat(key)[1] > 0
        both = used[0][self.mine] & used[1][self.theirs]
        keep = [_mask(len(used[0]), self.mine[both]), _mask(len(used[1]), self.theirs[both])]
        # Outcomes are taken again on what is shared: where a metric's parts mix outcomes, y depends on the weights.
        y_run = self.run.flat(key, keep[0])[0]
        part = self.base.per_example(key, keep[1])
        aligned = np.full(len(part.w), np.nan)
        aligned[self.theirs] = y_run[self.mine]
        rows = np.flatnonzero(part.w > 0)
        a, b = aligned[rows], part.y[rows]
        shared = PerExample(a - b, part.w[rows], part.strata[rows], part.clusters[rows])
        whole = all(bool((mask == use).all()) for mask, use in zip(keep, used, strict=True))
        return Column(key, a, b, shared, rows, whole)


def paired(columns: list[Column], clusters: Ints) -> Paired:
    """The columns as differences on the clusters of the baseline's examples, for tests on shared resamples."""
    count = int(clusters.max(initial=-1)) + 1
    differences = np.zeros((count, len(columns)))
    for i, column in enumerate(columns):
        differences[:, i] = unit_sums(column.part.w * column.part.y, column.part.clusters, count)[:, 0]
    return Paired(
        differences,
        np.array([int((c.part.y > 0).sum()) for c in columns], dtype=np.int64),
        np.array([int((c.part.y < 0).sum()) for c in columns], dtype=np.int64),
        np.array([c.simple for c in columns], dtype=bool),
    )


def used(part: PerExample) -> PerExample:
    """Only the examples that carry weight."""
    rows = part.w > 0
    return PerExample(part.y[rows], part.w[rows], part.strata[rows], part.clusters[rows])


def equal_weights(part: PerExample) -> bool:
    """A plain mean (floating-point noise aside)."""
    return len(part.w) == 0 or bool(np.ptp(part.w) <= 1e-9 * part.w[0])


def repeats(part: PerExample) -> bool:
    """Whether some cluster has more than one example."""
    return len(np.unique(part.clusters)) < len(part.clusters)


def effective_size(part: PerExample) -> float:
    """Kish's effective number of units, (sum W)^2 / sum W^2 with W the units' weights."""
    mass = np.bincount(np.unique(part.clusters, return_inverse=True)[1], part.w)
    return float(mass.sum() ** 2 / (mass**2).sum())


def _mask(n: int, rows: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask
