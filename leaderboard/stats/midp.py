"""McNemar's test with the mid-p value, to be asked for by name; formula and source in mcnemar.py."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from leaderboard.stats._paired import Paired
from leaderboard.stats.mcnemar import mcnemar_midp


class _MidP:
    title = "McNemar mid-p"

    def applies(self, paired: Paired) -> npt.NDArray[np.bool_]:
        return paired.plain

    def p_values(self, paired: Paired, *, resamples: int, seed: int) -> npt.NDArray[np.float64]:  # noqa: ARG002
        return mcnemar_midp(paired.wins, paired.losses)


TEST = _MidP()
