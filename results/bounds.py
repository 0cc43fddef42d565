"""How far a reward may be from the exact one: rounding in backends, batches and dtypes, and nothing else.

In standard deviations of a run's rewards: float32 2e-5 (the bound that every backend is held to), bfloat16 2e-2 (twice
the mean effect of batching measured on a 41M Llama), float16 an eighth of that (it has three more bits). Two rewards of
one key that differ by more are a conflict; a pair whose margin is smaller is decided by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

BOUNDS: Mapping[str, float] = {"float32": 2e-5, "float16": 2.5e-3, "bfloat16": 2e-2}


def reward_bound(settings: Mapping[str, Any], rewards: npt.NDArray[np.float64]) -> float:
    """How far a reward of a run with this protocol may be off, in the rewards' own unit.

    0 for backends that compute nothing (replay, baselines, judges). `rewards` may hold NaN (not scored).
    """
    relative = BOUNDS.get(str(settings.get("dtype")), 0.0)
    scored = rewards[np.isfinite(rewards)]
    return relative * float(scored.std()) if len(scored) else 0.0
