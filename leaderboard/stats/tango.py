"""Is a difference of matched proportions below (or above) a given value? Tango's score test (Tango 1998).

b pairs only the first gets right, c only the second, n pairs in all; H0: p1 - p2 = delta.

    z = (b - c - n delta) / sqrt(n (2 q + delta (1 - delta)))
    q = (sqrt(B^2 - 4 A C) - B) / 2A,   A = 2n,  B = -b - c + (2n - b + c) delta,  C = -c delta (1 - delta)

q is the likelihood's P(second only) under H0, so that the variance is the one that H0 implies: without a single
discordant pair the test still knows how little n pairs can say. At delta = 0 it is McNemar's chi-square. With
weights or partial credit the counts are effective ones and need not be whole.

Check: b, c, n = 0, 1, 44 at delta = -.1: z = 1.709, p = .044 (Tango's contact lens trial); the 95% interval of
1, 7, 21 is (-.517, -.026).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def tango_z(b: npt.ArrayLike, c: npt.ArrayLike, n: npt.ArrayLike, delta: npt.ArrayLike) -> Floats:
    """z of H0: difference = delta, approximately standard normal; counts broadcast. 0 where nothing can vary."""
    first, second, size, d = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (b, c, n, delta)))
    linear = -first - second + (2 * size - first + second) * d
    root = np.sqrt(np.maximum(linear**2 + 8 * size * second * d * (1 - d), 0))
    q = np.divide(root - linear, 4 * size, out=np.zeros_like(root), where=size > 0)
    variance = size * np.maximum(2 * q + d * (1 - d), 0)
    gap = first - second - size * d
    z: Floats = np.divide(gap, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 1e-300)
    return z
