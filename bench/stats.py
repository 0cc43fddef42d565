"""The board's statistics at full size, and against scipy's generic functions on a smaller case in the same run.

Full size: 20 candidates, 190 pairs, 4 tasks (2,985 weighted and clustered, 1,019 and 500 and 1,319 examples),
10,000 bootstraps and 10,000 sign flips each, in one process. Prints one JSON line a figure and exits 1 where a
target is missed. `--quick` runs the same (it takes seconds).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

CANDIDATES, RESAMPLES = 20, 10_000
TASKS = {"rewardbench": 2985, "autoj": 1019, "gsm8k_bon": 1319, "mbpp_bon": 500}


def main() -> int:
    """Run both parts in processes of their own, so that the peak memory is the board's alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same run: it takes seconds anyway")
    parser.add_argument("--part", choices=["board", "scipy"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(_board() if args.part == "board" else _against_scipy()))
        return 0
    # The matrix products are small: one thread will do, and busy neighbours then cost least.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    found: list[dict[str, object]] = []
    for part in ("board", "scipy"):
        command = [sys.executable, __file__, "--part", part]
        found += json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
    for figure in found:
        print(json.dumps(figure))
    return 0 if all(figure["ok"] for figure in found) else 1


def _task(n: int, seed: int):  # type: ignore[no-untyped-def]  # numpy is imported after the children are started
    """(y, w, strata, clusters) of one task; the largest has RewardBench's shape, with its problems repeated."""
    import numpy as np

    rng = np.random.default_rng(seed)
    skill = np.linspace(0, 0.3, CANDIDATES)
    y = (rng.normal(0.5, 1, (n, 1)) + 0.6 * rng.normal(size=(n, CANDIDATES)) + skill > 0).astype(float)
    w, strata, clusters = np.full(n, 1 / n), np.zeros(n, int), np.arange(n)
    if n == TASKS["rewardbench"]:
        strata = np.minimum(np.arange(n) // 118, 16)  # seventeen subsets, then six times 164 problems
        tail = np.arange(n - 984, n)
        strata[tail], clusters[tail] = 17 + np.arange(984) // 164, n + np.arange(984) % 164
        w = np.where(strata < 6, 2.0, 1.0)
        w /= w.sum()
    return y, w, strata, clusters


def _one(y, w, strata, clusters) -> None:  # type: ignore[no-untyped-def]
    from leaderboard.stats._resample import design, unit_sums
    from leaderboard.stats.bootstrap import bootstrap_draws, percentile, percentile_pairs
    from leaderboard.stats.maxt import all_pairs, max_t
    from leaderboard.stats.ranks import enough_units, rank_ranges

    values, pairs = w @ y, all_pairs(y.shape[1])
    plan = design(None, clusters, len(w))
    units = unit_sums(w[:, None] * y, plan.units, plan.count)
    draws = bootstrap_draws(y, w, strata, clusters, resamples=RESAMPLES)
    percentile(draws, values)
    percentile_pairs(draws, values, pairs)
    rank_ranges(values, draws, decidable=enough_units(units))
    max_t(units, pairs, resamples=RESAMPLES)


def _board() -> list[dict[str, object]]:
    tasks = [_task(n, seed) for seed, n in enumerate(TASKS.values())]
    import leaderboard.stats.maxt
    import leaderboard.stats.ranks  # noqa: F401 - imports are not what is timed

    start, cpu = time.perf_counter(), time.process_time()
    for task in tasks:
        _one(*task)
    seconds, worked = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        _figure("stats_board_seconds", round(seconds, 2), 5.0, seconds <= 5),
        _figure("stats_board_cpu_seconds", round(worked, 2), 10.0, worked <= 10),  # well below wall: a busy machine
        _figure("stats_board_peak_mb", round(peak), 500, peak <= 500),
    ]


def _against_scipy() -> list[dict[str, object]]:
    """10 candidates, 45 pairs, 500 examples, 2,000 resamples: one sign-flip test and one bootstrap a pair."""
    import numpy as np
    from scipy import stats

    from leaderboard.stats.bootstrap import bootstrap_draws, percentile_pairs
    from leaderboard.stats.maxt import all_pairs, max_t

    y, w, pairs, count = _task(500, 9)[0][:, :10], np.full(500, 1 / 500), all_pairs(10), 2000
    start = time.perf_counter()
    ours = max_t(w[:, None] * y, pairs, resamples=count).raw
    percentile_pairs(bootstrap_draws(y, w, resamples=count), w @ y, pairs)
    seconds = time.perf_counter() - start
    start, theirs = time.perf_counter(), []
    for i, j in pairs:
        d = y[:, i] - y[:, j]
        options = {"n_resamples": count, "rng": 1, "vectorized": True}
        theirs.append(stats.permutation_test((d,), _mean, permutation_type="samples", **options).pvalue)
        stats.bootstrap((y[:, i], y[:, j]), _gap, paired=True, method="percentile", **options)
    ratio = (time.perf_counter() - start) / seconds
    gap = float(np.abs(ours - np.array(theirs)).max())
    return [
        _figure("stats_times_faster_than_scipy", round(ratio, 1), 20, ratio >= 20),
        _figure("stats_largest_p_difference_to_scipy", round(gap, 4), 0.06, gap <= 0.06),
    ]


def _mean(x, axis):  # type: ignore[no-untyped-def]
    return x.mean(axis=axis)


def _gap(x, y, axis):  # type: ignore[no-untyped-def]
    return x.mean(axis=axis) - y.mean(axis=axis)


def _figure(name: str, value: float, target: float, ok: bool) -> dict[str, object]:
    return {"name": name, "value": value, "target": target, "ok": bool(ok)}


if __name__ == "__main__":
    sys.exit(main())
