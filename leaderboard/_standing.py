"""How the ranked candidates of one task stand to each other, read off one joint resampling of the headline score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboard import significance
from leaderboard._errors import LeaderboardError
from leaderboard.metrics import Measured
from leaderboard.stats._resample import Ints

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """Candidate a minus candidate b, fractions; p adjusted over all pairs of the task (step-down max-T)."""

    difference: float
    low: float
    high: float
    p: float
    raw: float
    mde: float  # NaN: nothing is detectable

    @property
    def sign(self) -> int:
        """1 where a is significantly better, -1 where it is worse, 0 where they cannot be told apart."""
        return 0 if not self.p < ALPHA else 1 if self.difference > 0 else -1


class Standing:
    """Indices are places in the task's ranked order."""

    def __init__(self, data: significance.Board) -> None:
        self.data = data
        self._pair: dict[tuple[int, int], int] = {(int(i), int(j)): k for k, (i, j) in enumerate(_rows(data.pairs))}

    def rank(self, i: int) -> tuple[int, int]:
        """Simultaneous 95% range of the candidate's rank."""
        return int(self.data.ranks.low[i]), int(self.data.ranks.high[i])

    def pair(self, i: int, j: int) -> Pair:
        """a = i, b = j, i != j."""
        k, sign = (self._pair[i, j], 1) if (i, j) in self._pair else (self._pair[j, i], -1)
        d = self.data
        ends = sign * float(d.difference_low[k]), sign * float(d.difference_high[k])
        return Pair(
            difference=sign * float(d.difference[k]),
            low=min(ends),
            high=max(ends),
            p=float(d.tests.adjusted[k]),
            raw=float(d.tests.raw[k]),
            mde=float(d.mde[k]),
        )


def _rows(pairs: Ints) -> list[list[int]]:
    rows: list[list[int]] = pairs.tolist()
    return rows


def standing(runs: Sequence[Measured], key: str = "score") -> tuple[Standing | None, str]:
    """The standing of these runs, or None and why there is none (one run, nothing shared)."""
    if len(runs) < 2:
        return None, ""
    try:
        return Standing(significance.board(runs, key)), ""
    except LeaderboardError as error:
        return None, str(error)
