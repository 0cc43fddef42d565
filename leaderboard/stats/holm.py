"""Family-wise error over several tests: Holm's step-down Bonferroni (Holm 1979).

    adjusted p_(k) = max over j <= k of min(1, (m - j + 1) p_(j))

It holds under any dependence; max-T (maxt.py) uses the dependence and rejects at least as much in practice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def holm(p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjusted p-values, (m,), in the order given."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    steps = (len(raw) - np.arange(len(raw))) * raw[order]
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
