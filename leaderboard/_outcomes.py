"""What rewards and labels make of one example: the flat arrays of a run turned into outcomes, NaN where undefined.

`Segments` reduces ragged responses to one number an example; everything else is a few lines on top of it.
Undefined is never 0: an example with an unscored response or an unknown label has no outcome and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from leaderboard._errors import LeaderboardError
from leaderboard.stats import bestofn
from results.records import RunRewards

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTCOMES = ("accuracy", "agreement", "best_of_n")


class Segments:
    """The responses of each example: sizes, and reductions that give `empty` for an example without responses."""

    def __init__(self, offsets: npt.NDArray[np.int64]) -> None:
        self.sizes = np.diff(offsets)
        self._filled = self.sizes > 0
        self._starts = offsets[:-1][self._filled]

    def reduce(self, ufunc: np.ufunc, values: npt.NDArray[np.generic], empty: float) -> Floats:
        """`ufunc` over each example's responses; values (T,), result (n,)."""
        out = np.full(len(self.sizes), empty)
        if len(self._starts):
            out[self._filled] = ufunc.reduceat(values.astype(np.float64), self._starts)
        return out

    def spread(self, per_example: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The example's value repeated for each of its responses: (n,) -> (T,)."""
        return np.repeat(per_example, self.sizes)


class Judged:
    """One run's rewards against its labels. All arrays are per example, (n,)."""

    def __init__(self, data: RunRewards) -> None:
        self.data = data
        seg = self.segments = Segments(data.offsets)
        self.sizes = seg.sizes
        usable = data.scored & ~np.isnan(data.rewards)
        self.scored: Bools = seg.reduce(np.logical_and, usable, 1.0) == 1
        self.known: Bools = seg.reduce(np.logical_and, data.labels >= 0, 1.0) == 1
        self.right = seg.reduce(np.add, data.labels == 1, 0.0)
        self.ladder = self._ladder()

    def _ladder(self) -> tuple[int, ...]:
        """N in powers of two up to the largest that every question has; it depends on the data only."""
        sizes = self.sizes[self.known & (self.sizes > 0)]
        return tuple(2**i for i in range(int(sizes.min()).bit_length())) if len(sizes) else ()

    def margins(self) -> Floats:
        """Highest reward of a correct response minus the highest of a wrong one; NaN where there is none."""
        best = [self._highest(self.data.labels == value) for value in (1, 0)]
        with np.errstate(invalid="ignore"):
            margin = best[0] - best[1]
        return np.where(self.scored & self.known & np.isfinite(margin), margin, np.nan)

    def ties(self) -> tuple[Bools, Bools]:
        """Scored examples whose highest reward is shared, and those where correct and wrong responses share it."""
        rewards = np.where(np.isnan(self.data.rewards), -np.inf, self.data.rewards)
        top = self.segments.reduce(np.maximum, rewards, -np.inf)
        at_top = rewards == self.segments.spread(top)
        shares = [self.segments.reduce(np.add, at_top & (self.data.labels == v), 0.0) for v in (0, 1)]
        count = self.segments.reduce(np.add, at_top, 0.0)
        shared: Bools = self.scored & (count >= 2)
        return shared, shared & (shares[0] > 0) & (shares[1] > 0)

    def outcome(self, name: str) -> Floats:
        """(n,) in [0, 1], NaN where undefined. `name` is accuracy, agreement, best_of_n, or a Best-of-N key."""
        if name == "best_of_n":
            return self.best_of_n("bon", self.ladder[-1:])[:, 0] if self.ladder else self._undefined()
        if name == "random":
            with np.errstate(invalid="ignore"):
                return np.where(self.questions, self.right / self.sizes, np.nan)
        if name in ("accuracy", "agreement"):
            return self._pairwise(ties_count=name == "agreement")
        raise LeaderboardError(f"unknown outcome '{name}' in a metric; known: {', '.join(OUTCOMES)}")

    def best_of_n(self, kind: str, ladder: Sequence[int]) -> Floats:
        """(n, len(ladder)) of `bon`, `oracle`, `majority` or `first`; NaN outside `questions`.

        All kinds share one set of questions (scored whole, all labels known), so that bon <= oracle holds.
        """
        out = np.full((len(self.sizes), len(ladder)), np.nan)
        data = self.data
        usable = self.questions & (self.sizes >= max(ladder, default=1))
        for k in np.unique(self.sizes[usable]).tolist():
            rows = np.flatnonzero(usable & (self.sizes == k))
            where = data.offsets[:-1][rows][:, None] + np.arange(k)
            rewards, correct = data.rewards[where], (data.labels[where] == 1).astype(np.float64)
            if kind == "majority":
                answers = [[data.answers[t] for t in line] for line in where.tolist()]
                out[rows] = bestofn.majority(answers, correct, ladder)
            elif kind == "oracle":
                out[rows] = bestofn.pass_at_n(correct, ladder)
            else:
                method: Callable[..., Floats] = {"bon": bestofn.best_of_n, "first": bestofn.first_of_n}[kind]
                out[rows] = method(rewards, correct, ladder)
        return out

    @property
    def questions(self) -> Bools:
        """Examples that Best-of-N keys are about: responses there, all scored, all labels known."""
        return self.scored & self.known & (self.sizes > 0)

    def _pairwise(self, ties_count: bool) -> Floats:
        """1 where the one correct response strictly beats all others; a labelled tie wants equal rewards."""
        comparable = self.scored & self.known & (self.sizes >= 2)
        one = comparable & (self.right == 1)
        wins = self._highest(self.data.labels == 1) > self._highest(self.data.labels != 1)
        out = np.where(one, wins.astype(np.float64), np.nan)
        if ties_count:
            low = self.segments.reduce(np.minimum, self.data.rewards, np.nan)
            high = self.segments.reduce(np.maximum, self.data.rewards, np.nan)
            all_right = comparable & (self.right == self.sizes)
            out = np.where(all_right, (low == high).astype(np.float64), out)
        return out

    def _highest(self, which: Bools) -> Floats:
        return self.segments.reduce(np.maximum, np.where(which, self.data.rewards, -np.inf), -np.inf)

    def _undefined(self) -> Floats:
        return np.full(len(self.sizes), np.nan)
