"""Confidence interval of a difference of matched proportions: half an observation added to each of the four cells.

    d' = (b - c) / (n + 2),   SE'^2 = (b + c + 1 - (b - c)^2 / (n + 2)) / (n + 2)^2      (Agresti and Min 2005)

Unlike the plain normal interval it has width where no pair, or every pair, is discordant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


def agresti_min(
    difference: npt.ArrayLike, discordance: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """(low, high) as fractions: difference (b - c)/n, discordance (b + c)/n, n pairs (or effective pairs)."""
    d, psi, size = np.broadcast_arrays(*(np.asarray(x, float) for x in (difference, discordance, n)))
    z = float(stats.norm.ppf(0.5 + level / 2))
    total = size * d
    centre = total / (size + 2)
    half = z * np.sqrt(np.maximum(size * psi + 1 - total**2 / (size + 2), 0)) / (size + 2)
    return np.maximum(centre - half, -1.0), np.minimum(centre + half, 1.0)
