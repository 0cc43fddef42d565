"""What a paired comparison could have seen: the minimum detectable effect, printed beside "not significant".

    d sqrt(n) = z_{1-a/2} sqrt(psi) + z_power sqrt(psi - d^2)       (Connor 1987, for McNemar's test)

n pairs, psi the share of discordant ones, d the true difference that is found with the given power. Squared,
this is a quadratic in d; the larger root is taken. With weights or partial credit, n is the effective number
1 / sum_c W_c^2 and psi = n sum_c t_c^2. A difference cannot exceed the discordance: where the root does,
discordance grows with it (psi = d). NaN: with so few pairs nothing can be detected.

Check (80% power, n = 2985): .72, 1.15, 1.62 points at discordance 2, 5, 10%.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


def minimum_detectable_effect(
    n: npt.ArrayLike, discordance: npt.ArrayLike, *, level: float = 0.95, power: float = 0.8
) -> Floats:
    """d as a fraction; n pairs and discordance (fraction) broadcast. NaN where nothing is detectable."""
    size, psi = np.broadcast_arrays(np.asarray(n, float), np.asarray(discordance, float))
    z = float(stats.norm.ppf(0.5 + level / 2)), float(stats.norm.ppf(power))
    d = _root(size, psi, *z)
    one_sided = _root(size, np.ones_like(size), *z) ** 2  # psi = d: divide by sqrt(d) and solve for sqrt(d)
    found = np.where((d <= psi) & (psi > 0), d, one_sided)
    return np.where(found <= 1, found, np.nan)


def _root(n: Floats, psi: Floats, z_alpha: float, z_power: float) -> Floats:
    inner = n - z_alpha**2 + z_power**2
    with np.errstate(invalid="ignore"):
        top = z_alpha * np.sqrt(n * psi) + z_power * np.sqrt(psi * np.where(inner >= 0, inner, np.nan))
    root: Floats = top / (n + z_power**2)
    return root
