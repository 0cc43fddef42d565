"""What a pool is worth before any reward model sees it: pass@n, repeated texts, and why responses are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tasks._types import Pool, Response

_STATUS = {True: "correct", False: "wrong", None: "unknown"}


def check_pool(pool: Pool) -> dict[str, Any]:
    """Figures of a labelled pool; fractions in 0..1.

    `pass` holds pass@n, unbiased (Chen et al. 2021, arXiv:2107.03374, equation 1), for n in powers of two up to the
    largest that every question has. Questions with an unlabelled response are left out of it and counted.
    """
    responses = [r for row in pool.rows.values() for r in row]
    distinct = sum(len({r.text for r in row}) for row in pool.rows.values())
    whole = [row for row in pool.rows.values() if all(r.correct is not None for r in row)]
    return {
        "task": pool.task,
        "pool": pool.name,
        "examples": len(pool.rows),
        "responses": len(responses),
        "duplicates": len(responses) - distinct,
        "status": dict(Counter(_STATUS[r.correct] for r in responses)),
        "reasons": dict(Counter(f"{_STATUS[r.correct]}: {_head(r.reason)}" for r in responses).most_common()),
        "left_out": len(pool.rows) - len(whole),
        "pass": pass_rates(whole),
        "settings": dict(pool.settings),
    }


def pass_rates(rows: Sequence[Sequence[Response]]) -> Mapping[str, float]:
    """{"pass/1": ..., "pass/2": ...}: the mean over questions, which may have different numbers of responses."""
    import numpy as np

    from leaderboard.stats.bestofn import pass_at_n

    if not rows:
        return {}
    least = min(len(row) for row in rows)
    sizes = [1 << i for i in range(least.bit_length()) if 1 << i <= least]
    by_length: dict[int, list[list[float]]] = {}
    for row in rows:
        by_length.setdefault(len(row), []).append([float(bool(r.correct)) for r in row])
    each = np.concatenate([pass_at_n(np.array(group), sizes) for group in by_length.values()])
    return {f"pass/{n}": float(value) for n, value in zip(sizes, each.mean(axis=0), strict=True)}


def _head(reason: str) -> str:
    """The status word of a reason: what stands before its explanation."""
    return reason.partition(": ")[0].partition(" (")[0] or "no reason"
