"""False discovery rate for exploratory tables: Benjamini and Hochberg (1995).

    adjusted p_(k) = min over j >= k of min(1, m p_(j) / j)

Only for tables that suggest where to look (subsets); claims use Holm or max-T.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats


def benjamini_hochberg(p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjusted p-values, (m,), in the order given."""
    raw = np.asarray(p, dtype=np.float64)
    return np.asarray(stats.false_discovery_control(raw) if len(raw) else raw, dtype=np.float64)
