"""Exact expectations against enumeration of every subset."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.stats.bestofn import best_of_n, first_of_n, majority, pass_at_n

QUESTION = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from(["a", "b", "c", "d", None])), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=60)
@given(QUESTION)
def test_every_curve_is_the_mean_over_all_subsets(rows: list[tuple[int, bool, str | None]]) -> None:
    rewards, correct = np.array([r for r, _, _ in rows], float), np.array([c for _, c, _ in rows], float)
    answers = [a for _, _, a in rows]
    sizes = list(range(1, len(rows) + 1))
    means: dict[str, list[float]] = {"bon": [], "oracle": [], "majority": []}
    for n in sizes:
        drawn = [list(s) for s in combinations(range(len(rows)), n)]
        means["bon"].append(np.mean([correct[s][rewards[s] == rewards[s].max()].mean() for s in drawn]))
        means["oracle"].append(np.mean([correct[s].max() for s in drawn]))
        means["majority"].append(np.mean([vote(s, answers, correct) for s in drawn]))
    np.testing.assert_allclose(best_of_n(rewards[None], correct[None], sizes)[0], means["bon"], atol=1e-12)
    np.testing.assert_allclose(pass_at_n(correct[None], sizes)[0], means["oracle"], atol=1e-12)
    np.testing.assert_allclose(majority([answers], correct[None], sizes)[0], means["majority"], atol=1e-12)


def vote(subset: list[int], answers: list[str | None], correct: np.ndarray) -> float:
    votes = Counter(answers[i] for i in subset if answers[i] is not None)
    leaders = [a for a, n in votes.items() if n == max(votes.values())]
    worth = [np.mean([correct[i] for i in range(len(answers)) if answers[i] == a]) for a in leaders]
    return float(np.mean(worth)) if worth else 0.0


def test_a_vote_of_fifty_by_hand() -> None:
    # 26 of 50 say "1" (right), 24 say "2": all 50 vote "1"; two draws agree on it or tie.
    answers, correct = [["1"] * 26 + ["2"] * 24], np.array([[1.0] * 26 + [0.0] * 24])
    both, split = 26 * 25 / (50 * 49), 2 * 26 * 24 / (50 * 49)
    np.testing.assert_allclose(majority(answers, correct, [1, 2, 50])[0], [0.52, both + split / 2, 1.0])


def test_the_prefix_takes_the_first_of_equals() -> None:
    rewards, correct = np.array([[1.0, 1.0, 2.0, 2.0]]), np.array([[0.0, 1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(first_of_n(rewards, correct, [1, 2, 4])[0], [0, 0, 1])


def test_a_subset_larger_than_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="a subset of 3 cannot be drawn from 2"):
        best_of_n(np.zeros((1, 2)), np.zeros((1, 2)), [1, 3])
