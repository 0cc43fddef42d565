"""Is this engine's reward the model's reward? A sample of every run, scored by transformers too.

Bounds are in standard deviations of the sample's rewards. They are wide enough for honest rounding (the measured
errors are in docs/scoring.md) and far below what a stale cache, a wrong pooled token, an activation or wrong weights
do: those move rewards by a standard deviation or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import RunFailed
from harness.scoring._batching import Encoded

SAMPLE = 12
LONGEST = 1024  # tokens; the reference may run on a CPU
BOUNDS: Mapping[str, float] = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.3}


def sample(encoded: Sequence[Encoded], size: int = SAMPLE) -> list[int]:
    """Indices of `size` distinct sequences, evenly spread over their lengths, the very long ones left out."""
    seen: dict[bytes, int] = {}
    for index, sequence in enumerate(encoded):
        seen.setdefault(sequence.ids.tobytes(), index)
    chosen = sorted(seen.values(), key=lambda i: (len(encoded[i].ids), i))
    short = [i for i in chosen if len(encoded[i].ids) <= LONGEST] or chosen[:1]
    if len(short) <= size:
        return short
    return [short[round(n * (len(short) - 1) / (size - 1))] for n in range(size)]


def check_parity(ours: Sequence[float], theirs: Sequence[float], dtype: str, what: str) -> float:
    """The largest difference in standard deviations. Raises RunFailed when it is above the dtype's bound."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    finite = np.isfinite(b)
    if not finite.any():
        return 0.0  # a model of NaNs is reported reward by reward
    spread = float(b[finite].std()) or 1.0
    worst = float(np.abs(a - b)[finite].max() / spread) if np.isfinite(a[finite]).all() else float("inf")
    if not worst <= BOUNDS[dtype]:
        i = int(np.nan_to_num(np.abs(a - b), nan=np.inf).argmax())
        raise RunFailed(
            f"{what} does not give the model's rewards: on a sample of {len(b)} it differs from transformers by up to"
            f" {worst:.2g} standard deviations ({a[i]:.5g} instead of {b[i]:.5g}; allowed in {dtype}:"
            f" {BOUNDS[dtype]:g}); nothing was stored, use --backend hf"
        )
    return worst
