"""Margins that rounding alone could turn: such a win or loss is no evidence (results.bounds has how far it reaches)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def close_calls(margins: npt.NDArray[np.float64], bound: float) -> int:
    """How many margins (best correct reward minus best wrong one; NaN where there is none) lie within the bound."""
    return int((np.abs(margins[np.isfinite(margins)]) < bound).sum())
