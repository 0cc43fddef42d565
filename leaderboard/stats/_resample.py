"""What may be resampled, and the random weight matrices: shared by every resampling method.

A metric is sum_i w_i y_i. Its sampling error is carried by the residuals r_i = w_i (y_i - mean of i's stratum),
summed over the examples of a unit (a cluster, or a single example): the t_c below. A bootstrap draw is the
metric plus sum_c k_c t_c, where k_c says how often unit c was drawn within its block. Where every cluster is
complete this is the plain paired stratified bootstrap; where one is not, it is the ratio estimate linearised.

Blocks are strata joined by shared clusters (the six hep-* subsets are one block of 164 problems). A stratum
with a single unit has no spread of its own: such strata are pooled ("collapsed strata", Cochran 1977, 5A.12).

All matrices are float32 and come in chunks of resamples, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

CHUNK = 1000
IN_CACHE = 2**17  # counters at a time: counting is random access, several times slower from main memory
ENUMERATE_UP_TO = 16  # units; 65,536 sign patterns are cheaper than thinking about Monte Carlo error
TIE = 1 - 1e-5  # float32 sums of equal values differ in the last digits; ties must count as ties


@dataclass(frozen=True, slots=True)
class Design:
    """How n examples form C units within blocks."""

    strata: Ints  # (n,) 0..G-1, after collapsing
    units: Ints  # (n,) 0..C-1
    blocks: Ints  # (C,) 0..H-1

    @property
    def count(self) -> int:
        """C, the number of units."""
        return len(self.blocks)


def design(strata: npt.ArrayLike | None, clusters: npt.ArrayLike | None, n: int) -> Design:
    """The design of n examples; strata and clusters are (n,) codes of any kind, None for none."""
    levels = _codes(strata, n)
    units = np.arange(n) if clusters is None else _codes(clusters, n)
    for _ in range(2):  # collapsing can leave nothing alone, so the second pass only rebuilds the blocks
        blocks = _blocks(levels, units)
        sizes = np.bincount(blocks, minlength=1)
        alone = np.flatnonzero(sizes == 1)
        if not len(alone) or len(sizes) == 1:
            break
        merged = alone if len(alone) > 1 else np.argsort(sizes, kind="stable")[:2]
        levels = _codes(np.where(np.isin(blocks, merged)[units], -1, levels), n)
    return Design(levels, units, blocks)


def residual_units(y: Floats, w: Floats, plan: Design) -> Floats:
    """t_c: residuals summed over each unit. y (n,) or (n, M), w (n,) -> (C, M)."""
    columns = as_columns(y)
    groups = plan.strata.max(initial=-1) + 1
    mass = np.bincount(plan.strata, w, minlength=groups)
    means = _sums(plan.strata, groups, w[:, None] * columns) / np.where(mass > 0, mass, 1.0)[:, None]
    return unit_sums(w[:, None] * (columns - means[plan.strata]), plan.units, plan.count)


def unit_sums(values: Floats, units: Ints, count: int) -> Floats:
    """Rows of `values` (n, M) summed by unit: (count, M)."""
    return _sums(units, count, as_columns(values))


def as_columns(values: npt.ArrayLike) -> Floats:
    """(n,) as (n, 1); (n, M) as it is."""
    columns = np.asarray(values, dtype=np.float64)
    return columns[:, None] if columns.ndim == 1 else columns


def block_variance(t: Floats, plan: Design) -> Floats:
    """Variance of the metric, sum_h C_h / (C_h - 1) sum_{c in h} t_c^2; t (C, M) -> (M,), NaN for one unit."""
    if plan.count < 2:
        return np.full(t.shape[1], np.nan)
    size = np.bincount(plan.blocks)[plan.blocks].astype(np.float64)
    variance: Floats = (size / np.maximum(size - 1, 1)) @ t**2
    return variance


def sign_chunks(count: int, resamples: int, seed: int) -> Iterator[Matrix]:
    """(b, count) matrices of -1 and 1, `resamples` rows in all, each sign fair and independent."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        bits = np.frombuffer(rng.bytes((rows * count + 7) // 8), np.uint8)
        signs = np.unpackbits(bits, count=rows * count).reshape(rows, count).astype(np.float32)
        signs *= 2
        signs -= 1
        yield signs


def all_signs(count: int) -> Matrix:
    """All 2^count sign patterns, (2^count, count)."""
    patterns = np.arange(2**count, dtype=np.int64)[:, None] >> np.arange(count)
    return ((patterns & 1) * 2 - 1).astype(np.float32)


def draw_chunks(blocks: Ints, resamples: int, seed: int) -> Iterator[Matrix]:
    """(b, C) matrices of draw counts minus 1: units are drawn with replacement within their block."""
    rng = np.random.default_rng(seed)
    sizes = np.bincount(blocks)
    order = np.argsort(blocks, kind="stable")
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        counts = np.empty((rows, len(blocks)), np.float32)
        done = 0
        for size in sizes.tolist():
            columns = order[done : done + size]
            step = max(1, IN_CACHE // size)
            for top in range(0, rows, step):
                counts[top : top + step, columns] = _draw(rng, min(step, rows - top), size)
            done += size
        counts -= 1
        yield counts


def _draw(rng: np.random.Generator, rows: int, size: int) -> Ints:
    """(rows, size) how often each of `size` units is drawn in `size` draws."""
    picks = rng.integers(0, size, (rows, size), dtype=np.uint16 if size <= 65536 else np.uint32).astype(np.int64)
    picks += np.arange(rows)[:, None] * size
    return np.bincount(picks.ravel(), minlength=rows * size).reshape(rows, size)


def _codes(labels: npt.ArrayLike | None, n: int) -> Ints:
    if labels is None:
        return np.zeros(n, np.int64)
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64).reshape(-1)


def _blocks(strata: Ints, units: Ints) -> Ints:
    """(C,) block of each unit: the connected components of strata linked by units."""
    groups, count = strata.max(initial=-1) + 1, units.max(initial=-1) + 1
    if not count:
        return np.zeros(0, np.int64)
    links = sparse.coo_array((np.ones(len(strata)), (strata, groups + units)), shape=(groups + count, groups + count))
    labels = csgraph.connected_components(links, directed=False)[1]
    return _codes(labels[groups:], count)


def _sums(codes: Ints, count: int, values: Floats) -> Floats:
    indicator = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(count, len(codes)))
    total: Floats = np.asarray(indicator @ values, dtype=np.float64)
    return total
