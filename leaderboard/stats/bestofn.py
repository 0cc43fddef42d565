"""Best-of-N, exactly: the expectation over every size-n subset of the k responses, with ties shared.

All functions take rectangular arrays: Q questions with k responses each; `sizes` are subset sizes, 1 <= n <= k.

    Best-of-n   sort the rewards ascending, replace correctness by its mean c_(j) within each group of equal
                rewards; E[correct of the highest-rewarded of n] = sum_j c_(j) C(j-1, n-1) / C(k, n), because
                the j-th smallest is the largest of a subset in C(j-1, n-1) of the C(k, n) subsets.
    pass@n      1 - C(k-c, n) / C(k, n) with c correct responses (Chen et al. 2021, equation 1): the value
                that Best-of-n takes when the reward is the correctness itself.
    majority    self-consistency (Wang et al. 2023): the most frequent answer of the subset wins.

A newcomer's check: a constant reward gives the mean correctness at every n.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def best_of_n(rewards: Floats, correct: Floats, sizes: Sequence[int]) -> Floats:
    """Expected correctness of the highest-rewarded of n random responses.

    rewards, correct: (Q, k), rewards finite, correct in [0, 1]. Returns (Q, len(sizes)), fractions.
    Raises ValueError where a size is not in 1..k.
    """
    count, k = rewards.shape
    _check_sizes(sizes, k)
    order = np.argsort(rewards, axis=1, kind="stable")
    ranked = np.take_along_axis(rewards, order, 1)
    shared = np.take_along_axis(np.asarray(correct, dtype=np.float64), order, 1)
    starts = np.concatenate([np.ones((count, 1), bool), ranked[:, 1:] != ranked[:, :-1]], axis=1)
    group = np.cumsum(starts.ravel()) - 1  # a question's first response always starts a group
    if count:
        shared = (np.bincount(group, shared.ravel()) / np.bincount(group))[group].reshape(count, k)
    table = [[comb(j, n - 1) / comb(k, n) for n in sizes] for j in range(k)]
    expected: Floats = shared @ np.array(table).reshape(k, len(sizes))
    return expected


def pass_at_n(correct: Floats, sizes: Sequence[int]) -> Floats:
    """Probability that at least one of n random responses is correct (the oracle's Best-of-n).

    correct: (Q, k) of 0 and 1. Returns (Q, len(sizes)), fractions. Raises ValueError for a size not in 1..k.
    """
    k = correct.shape[1]
    _check_sizes(sizes, k)
    table = np.array([[1 - comb(k - c, n) / comb(k, n) for n in sizes] for c in range(k + 1)])
    right: Floats = table.reshape(k + 1, len(sizes))[np.rint(correct.sum(axis=1)).astype(np.int64)]
    return right


def first_of_n(rewards: Floats, correct: Floats, sizes: Sequence[int]) -> Floats:
    """Correctness of the highest-rewarded of the first n responses, the first one where rewards are equal.

    This is DogeRM's Best-of-N: one nested prefix of the samples, so it depends on the sampling order.
    rewards, correct: (Q, k). Returns (Q, len(sizes)). Raises ValueError for a size not in 1..k.
    """
    _check_sizes(sizes, rewards.shape[1])
    rows = np.arange(len(rewards))
    columns = [correct[rows, rewards[:, :n].argmax(axis=1)] for n in sizes]
    return np.asarray(np.stack(columns, axis=1), dtype=np.float64)


def majority(answers: Sequence[Sequence[str | None]], correct: Floats, sizes: Sequence[int]) -> Floats:
    """Expected correctness of the majority vote of n random responses, exact over all subsets.

    answers: Q rows of k canonical answers; None does not vote. correct: (Q, k); an answer is as correct as
    the mean of the responses that give it. Answers with equally many votes share the win equally; where
    nobody votes the vote is wrong. Returns (Q, len(sizes)). Raises ValueError for a size not in 1..k.
    """
    k = correct.shape[1]
    _check_sizes(sizes, k)
    out = np.zeros((len(answers), len(sizes)))
    for row, (given, right) in enumerate(zip(answers, correct.tolist(), strict=True)):
        votes: dict[str, list[float]] = {}
        for answer, value in zip(given, right, strict=True):
            if answer is not None:
                votes.setdefault(answer, []).append(value)
        groups = tuple(sorted((len(v), sum(v) / len(v)) for v in votes.values()))
        out[row] = _vote(groups, k, tuple(sizes))
    return out


@lru_cache(maxsize=65536)
def _vote(groups: tuple[tuple[int, float], ...], k: int, sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Majority vote of one question; `groups` are (responses, correctness) of each answer.

    Answer a wins with v votes and j rivals level in prod(ways) subsets, and then gets 1/(1+j). Counting by a
    polynomial whose exponent of x is the subset's size and of y the number of level rivals, 1/(1+j) is the
    integral of y^j over 0..1, taken exactly by Gauss-Legendre nodes. Answers with fewer than v responses and
    responses without an answer cannot interfere: together they are (1+x)^m.
    """
    top = max(sizes)
    total = np.zeros(top + 1)
    for own, (size, right) in enumerate(groups):
        if right == 0:
            continue
        others = [m for i, (m, _) in enumerate(groups) if i != own]
        for v in range(1, min(size, top) + 1):
            rivals = [m for m in others if m >= v]
            free = k - size - sum(rivals)
            total += right * comb(size, v) * _ways(tuple(rivals), v, free, top)
    return tuple(float(total[n] / comb(k, n)) for n in sizes)


def _ways(rivals: tuple[int, ...], v: int, free: int, top: int) -> Floats:
    """Coefficients of x^0..x^top: subsets where no rival has more than v votes, level ones sharing the win."""
    nodes, mass = _gauss(len(rivals) // 2 + 1)
    poly = np.zeros((len(nodes), top + 1))
    poly[:, v:] = [comb(free, u) for u in range(top + 1 - v)]
    for m in rivals:
        grown = np.zeros_like(poly)
        for u in range(min(v, top) + 1):
            ways = comb(m, u) * (nodes[:, None] if u == v else 1.0)
            grown[:, u:] += ways * poly[:, : top + 1 - u]
        poly = grown
    mean: Floats = mass @ poly
    return mean


@lru_cache(maxsize=64)
def _gauss(count: int) -> tuple[Floats, Floats]:
    """Nodes and weights on 0..1, exact for polynomials up to degree 2 * count - 1."""
    nodes, mass = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, mass / 2


def _check_sizes(sizes: Sequence[int], k: int) -> None:
    bad = [n for n in sizes if not 1 <= n <= k]
    if bad:
        raise ValueError(f"a subset of {bad[0]} cannot be drawn from {k} responses")
