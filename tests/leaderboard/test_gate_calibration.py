"""Does the gate keep its promises? Nights without a change, nights with a loss of exactly the margin, and real losses.

Bounds are the promised rates plus three standard errors of the number of nights; `pytest -m slow` runs many more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from leaderboard.compare import Comparison, compare
from leaderboard.gate import NOT_WORSE, REGRESSION, Gate, Rule, judge
from results.records import RunRewards

Make = Callable[..., RunRewards]
NIGHTS = pytest.mark.parametrize("nights", [200, pytest.param(2000, marks=pytest.mark.slow)])
SIZES = (1019, 600, 300)


def bound(rate: float, nights: int) -> float:
    return rate + 3 * float(np.sqrt(rate * (1 - rate) / nights))


class Tasks:
    """Three tasks of preference pairs; a model is its difficulty per example, a night its luck on each."""

    def __init__(self, make_run: Make, seed: int) -> None:
        self._make, self._rng = make_run, np.random.default_rng(seed)
        self._hard = [self._rng.normal(-1, 1, n) for n in SIZES]

    def night(self, shift: float = 0.0) -> list[RunRewards]:
        found = []
        for hard in self._hard:
            gap = self._rng.normal(0, 0.4, len(hard)) - hard - shift
            found.append(self._make([[float(g), 0.0] for g in gap], [[1, 0]] * len(hard)))
        return found

    def compare(self, a: list[RunRewards], b: list[RunRewards]) -> dict[int, Comparison]:
        return {i: compare(x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))}


def worse(comparisons: dict[int, Comparison], margin: float) -> bool:
    gate: Gate[int] = judge(comparisons, Rule(margin, 0.05))
    return gate.verdict == REGRESSION


@NIGHTS
def test_nights_without_a_change_raise_false_alarms_at_most_alpha(make_run: Make, nights: int) -> None:
    tasks = Tasks(make_run, seed=1)
    before, alarms = tasks.night(), np.zeros((nights, 2), bool)
    for i in range(nights):
        tonight = tasks.night()
        found = tasks.compare(tonight, before)
        alarms[i] = worse(found, 0.0), worse(found, 0.005)
        before = tonight
    strict, default = alarms.mean(axis=0)
    assert strict <= bound(0.05, nights)
    assert default <= min(strict, 0.05)


@NIGHTS
def test_a_loss_of_exactly_the_margin_is_called_a_regression_or_fine_at_most_at_alpha(
    make_run: Make, nights: int
) -> None:
    """The boundary of both tests. Outcomes are drawn so that the true difference is the margin, on one task."""
    rng, margin, n = np.random.default_rng(2), 0.03, 800
    verdicts = []
    for b, c, _ in rng.multinomial(n, [0.05, 0.05 + margin, 0.9 - margin], nights):
        a_right = [True] * b + [False] * c + [True] * (n - b - c)
        b_right = [False] * b + [True] * c + [True] * (n - b - c)
        runs = [make_run([[float(y), 0.5] for y in right], [[1, 0]] * n) for right in (a_right, b_right)]
        verdicts.append(judge({0: compare(*runs)}, Rule(margin, 0.05)).verdict)
    for verdict in (REGRESSION, NOT_WORSE):
        assert 0.01 < np.mean([v == verdict for v in verdicts]) <= bound(0.05, nights), verdict


@NIGHTS
def test_a_real_loss_is_found(make_run: Make, nights: int) -> None:
    tasks = Tasks(make_run, seed=3)
    pairs = [(tasks.night(shift=0.25), tasks.night()) for _ in range(nights // 4)]
    found = [tasks.compare(a, b) for a, b in pairs]
    loss = -np.mean([c[0].difference for c in found])
    assert 0.04 < loss < 0.07  # about five and a half points on every task
    assert np.mean([worse(c, 0.005) for c in found]) > 0.9
