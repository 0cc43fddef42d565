"""Margins that rounding alone could turn: how far a reward may move between backends, batches and dtypes.

In standard deviations of a run's rewards: float32 2e-5 (the bound that every backend is held to), bfloat16 2e-2 (twice
the mean effect of batching measured on a 41M Llama), float16 an eighth of that (it has three more bits). A pair whose
margin is smaller is decided by rounding: its win or loss is no evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

BOUNDS: Mapping[str, float] = {"float32": 2e-5, "float16": 2.5e-3, "bfloat16": 2e-2}


def reward_bound(settings: Mapping[str, Any], rewards: npt.NDArray[np.float64]) -> float:
    """How far a reward of a run may be from the exact one, in the rewards' own unit.

    `settings` is the run's protocol; 0 for backends that compute nothing (replay, baselines, judges). `rewards` may
    hold NaN for responses that were not scored.
    """
    relative = BOUNDS.get(str(settings.get("dtype")), 0.0)
    scored = rewards[np.isfinite(rewards)]
    return relative * float(scored.std()) if len(scored) else 0.0


def close_calls(margins: npt.NDArray[np.float64], bound: float) -> int:
    """How many margins (best correct reward minus best wrong one; NaN where there is none) lie within the bound."""
    return int((np.abs(margins[np.isfinite(margins)]) < bound).sum())
