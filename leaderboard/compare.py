"""How sure a metric is, and whether two candidates differ: intervals and paired comparisons of stored runs.

    interval    Wilson for a plain proportion; normal with the stratified or clustered SE otherwise; Wilson with
                the effective sample size where that SE is 0 or there is a single unit
    compare     McNemar (exact) for equal weights without clusters, the sign-flip permutation otherwise, with an
                interval of the difference and the minimum detectable effect

Runs are joined by example id; examples without an outcome in either run are left out of both, and the weights
are made anew on what is left. Many candidates against one baseline share one resampling (`compare_many`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from leaderboard._errors import LeaderboardError
from leaderboard._pairs import Column, Pair, effective_size, equal_weights, paired, repeats, used
from leaderboard.metrics import Measured, measured
from leaderboard.stats._paired import paired_test
from leaderboard.stats._resample import Ints, unit_sums
from leaderboard.stats.agresti_min import agresti_min
from leaderboard.stats.clustered import clustered_se
from leaderboard.stats.holm import holm
from leaderboard.stats.power import minimum_detectable_effect
from leaderboard.stats.wilson import wilson
from results.records import RunRewards

Run = RunRewards | Measured


class Interval(NamedTuple):
    """A confidence interval as fractions; (nan, nan) where the metric has no value."""

    low: float
    high: float
    method: str  # wilson | stratified | clustered | effective


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate a against b on one metric; all values are fractions, differences are a - b."""

    key: str
    a: float
    b: float
    difference: float
    low: float  # confidence interval of the difference
    high: float
    p: float  # two-sided; NaN where there is no shared example
    p_adjusted: float  # Holm, over the candidates compared in one call
    method: str  # name of the test
    n: int  # shared examples with an outcome in both
    units: int  # clusters among them
    wins: int  # examples with a above b
    losses: int
    mde: float  # minimum detectable effect; NaN: nothing is detectable with so few
    size: float  # effective number of pairs, n where all weigh the same
    discordance: float  # mean square difference of an effective pair; the share of discordant pairs for plain ones
    whole: bool  # every example behind either metric is shared; else both values are of what is shared
    level: float
    seed: int
    resamples: int


def interval(data: Run, key: str = "score", level: float = 0.95) -> Interval:
    """Confidence interval of a metric. Raises LeaderboardError for an unknown key."""
    part = used(measured(data).per_example(key))
    if not len(part.w):
        return Interval(np.nan, np.nan, "none")
    value = float(part.w @ part.y)
    if equal_weights(part) and not repeats(part) and np.isin(part.y, (0.0, 1.0)).all():
        low, high = wilson(part.y.sum(), len(part.y), level)
        return Interval(float(low), float(high), "wilson")
    se = float(clustered_se(part.y, part.clusters, part.w, part.strata)[0])
    if not se > 0:  # no spread to be seen, or one unit only
        size = effective_size(part)
        low, high = wilson(value * size, size, level)
        return Interval(float(low), float(high), "effective")
    half = float(stats.norm.ppf(0.5 + level / 2)) * se
    return Interval(max(0.0, value - half), min(1.0, value + half), "clustered" if repeats(part) else "stratified")


def compare(a: Run, b: Run, key: str = "score", **options: object) -> Comparison:
    """One comparison; the options are those of `compare_many`."""
    return compare_many([a], b, [key], **options)[0][key]  # type: ignore[arg-type]


def compare_many(
    runs: Sequence[Run],
    baseline: Run,
    keys: Sequence[str] | None = None,
    *,
    method: str | None = None,
    level: float = 0.95,
    power: float = 0.8,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[dict[str, Comparison]]:
    """Each run against the baseline on each key (all that the baseline has a value for): one dict a run.

    `method` is a file of leaderboard/stats that has a TEST; None chooses McNemar where it is valid and the sign
    flip elsewhere. Keys without a shared example have NaN values and n = 0. Raises LeaderboardError where runs
    cannot be joined, for unknown keys and methods, and for a method that is not valid for a key.
    """
    base = measured(baseline)
    wanted = list(base.values()) if keys is None else list(dict.fromkeys(keys))
    pairs = [Pair(measured(run), base) for run in runs]
    columns = [pair.column(key) for pair in pairs for key in wanted]
    tested = iter(_test(columns, base.cluster_codes, method, resamples, seed))
    done = iter([_describe(c, level, power, seed, resamples, *next(tested)) for c in columns])
    rows = [{key: next(done) for key in wanted} for _ in runs]
    return _adjusted(rows, wanted)


def _test(
    columns: Sequence[Column], clusters: Ints, method: str | None, resamples: int, seed: int
) -> list[tuple[str, float]]:
    """(test's name, p) of each column; columns of one test are tested together, on shared resamples."""
    names = [method or ("mcnemar" if column.simple else "signflip") for column in columns]
    out: list[tuple[str, float]] = [(name, np.nan) for name in names]
    for name in dict.fromkeys(names):
        chosen = [i for i, given in enumerate(names) if given == name and len(columns[i].rows)]
        if not chosen:
            continue
        test = paired_test(name)
        batch = paired([columns[i] for i in chosen], clusters)
        invalid = ~test.applies(batch)
        if invalid.any():
            key = columns[chosen[int(np.flatnonzero(invalid)[0])]].key
            raise LeaderboardError(
                f"{test.title} needs equal weights, outcomes of 0 or 1 and no clusters, which {key} has not: "
                "use signflip"
            )
        for i, p in zip(chosen, test.p_values(batch, resamples=resamples, seed=seed).tolist(), strict=True):
            out[i] = (name, p)
    return out


def _describe(
    column: Column, level: float, power: float, seed: int, resamples: int, method: str, p: float
) -> Comparison:
    part = column.part
    size = effective_size(part) if len(part.w) else 0.0
    low, high = _difference_interval(column, size, level)
    units = unit_sums(part.w * part.y, part.clusters, int(part.clusters.max(initial=-1)) + 1)
    psi = float((units**2).sum()) * size
    a, b = (float(part.w @ y) if len(part.w) else np.nan for y in (column.a, column.b))
    return Comparison(
        key=column.key,
        a=a,
        b=b,
        difference=a - b,
        low=low,
        high=high,
        p=p,
        p_adjusted=p,
        method=method,
        n=len(part.w),
        units=len(np.unique(part.clusters)),
        wins=int((part.y > 0).sum()),
        losses=int((part.y < 0).sum()),
        mde=float(minimum_detectable_effect(size, psi, level=level, power=power)),
        size=size,
        discordance=psi,
        whole=column.whole,
        level=level,
        seed=seed,
        resamples=resamples,
    )


def _difference_interval(column: Column, size: float, level: float) -> tuple[float, float]:
    """Normal with the stratified or clustered SE of the difference; Agresti-Min for plain proportions, and with the
    effective size where all differences are equal."""
    part = column.part
    if not len(part.w):
        return np.nan, np.nan
    centre = float(part.w @ part.y)
    se = float("nan") if column.simple else float(clustered_se(part.y, part.clusters, part.w, part.strata)[0])
    if not se > 0:
        low, high = agresti_min(centre, part.w @ part.y**2, size, level)
        return float(low), float(high)
    half = float(stats.norm.ppf(0.5 + level / 2)) * se
    return max(-1.0, centre - half), min(1.0, centre + half)


def _adjusted(rows: list[dict[str, Comparison]], keys: Sequence[str]) -> list[dict[str, Comparison]]:
    """Holm within each key, over the runs that could be compared on it."""
    for key in keys:
        tested = [row for row in rows if row[key].n]
        for row, p in zip(tested, holm([row[key].p for row in tested]).tolist(), strict=True):
            row[key] = replace(row[key], p_adjusted=p)
    return rows
