"""Which examples changed sides between two runs: what a difference is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leaderboard._pairs import Pair
from leaderboard.compare import Run
from leaderboard.metrics import measured


@dataclass(frozen=True, slots=True)
class Flips:
    """Example ids, largest change first and in the data set's order among equals."""

    better: tuple[str, ...]  # a above b
    worse: tuple[str, ...]
    same: int  # shared examples with equal outcomes


def flips(a: Run, b: Run, key: str = "score") -> Flips:
    """Examples whose outcome differs between run a and run b on one metric, joined as `compare` joins them.

    Raises LeaderboardError where the runs cannot be joined, and for an unknown key.
    """
    base = measured(b)
    column = Pair(measured(a), base).column(key)
    change = column.part.y
    ids = [base.data.example_ids[row] for row in column.rows]
    order = np.argsort(-np.abs(change), kind="stable")
    return Flips(
        better=tuple(ids[i] for i in order if change[i] > 0),
        worse=tuple(ids[i] for i in order if change[i] < 0),
        same=int((change == 0).sum()),
    )
