"""Outcomes and metric trees, against hand-computed values and published section scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from leaderboard._errors import LeaderboardError
from leaderboard.metrics import (
    Measured,
    counts,
    example_outcomes,
    example_weights,
    margins,
    metric_values,
    per_example,
)
from results.records import RunRewards

RunMaker = Callable[..., RunRewards]
NAN = math.nan


def metric(key: str, *parts: tuple[str, float | None], outcome: str = "accuracy") -> dict[str, Any]:
    return {"key": key, "parts": [list(part) for part in parts], "outcome": outcome}


def test_accuracy_wants_the_one_correct_response_strictly_above_all_others(make_run: RunMaker) -> None:
    run = make_run(
        [[2, 1], [1, 2], [1, 1], [3, 2, 1], [1, 1, 0]],
        [[1, 0], [1, 0], [1, 0], [1, 0, 0], [0, 1, 0]],
    )
    np.testing.assert_array_equal(example_outcomes(run, "accuracy"), [1, 0, 0, 1, 0])


@pytest.mark.parametrize(
    ("rewards", "labels"),
    [
        ([1.0, None], [1, 0]),  # unscored
        ([1.0, 0.0], [1, -1]),  # a label nobody knows
        ([1.0, 0.0], [1, 1]),  # two correct
        ([1.0, 0.0], [0, 0]),  # none correct
        ([1.0], [1]),  # nothing to compare with
        ([], []),
    ],
)
def test_accuracy_is_undefined_rather_than_wrong(make_run: RunMaker, rewards: list[Any], labels: list[int]) -> None:
    run = make_run([rewards, [1, 0]], [labels, [1, 0]])
    np.testing.assert_array_equal(example_outcomes(run, "accuracy"), [NAN, 1])
    assert metric_values(run)["score"] == 1


def test_agreement_wants_equal_rewards_where_the_label_is_a_tie(make_run: RunMaker) -> None:
    run = make_run([[1, 1], [1, 2], [2, 1], [1, 1]], [[1, 1], [1, 1], [1, 0], [1, 0]], outcome="agreement")
    np.testing.assert_array_equal(example_outcomes(run, "agreement"), [1, 0, 1, 0])


def test_an_unknown_outcome_names_the_known_ones(make_run: RunMaker) -> None:
    with pytest.raises(LeaderboardError, match=r"'acuracy'.*accuracy, agreement, best_of_n"):
        example_outcomes(make_run([[1, 0]], [[1, 0]]), "acuracy")


def test_nested_metrics_with_fixed_and_counted_weights(make_run: RunMaker) -> None:
    # accuracies: a 1/2 of 2, b 1 of 1, c 0 of 1
    run = make_run(
        [[1, 0], [0, 1], [1, 0], [0, 1]],
        [[1, 0]] * 4,
        ["a", "a", "b", "c"],
        metrics=[
            metric("section/X", ("subset/a", None), ("subset/b", None)),  # (2 * 1/2 + 1) / 3 = 2/3
            metric("section/Y", ("subset/c", 984.0), ("subset/b", 16.0)),  # 0.016
            metric("score", ("section/X", 1.0), ("section/Y", 1.0)),
        ],
    )
    values = metric_values(run)
    assert values == pytest.approx(
        {
            "score": (2 / 3 + 0.016) / 2,
            "section/X": 2 / 3,
            "section/Y": 0.016,
            "subset/a": 0.5,
            "subset/b": 1.0,
            "subset/c": 0.0,
        }
    )
    np.testing.assert_allclose(example_weights(run, "score"), [1 / 6, 1 / 6, 1 / 6 + 0.008, 0.492])


def test_parts_without_any_outcome_are_left_out_of_the_mean_and_of_the_keys(make_run: RunMaker) -> None:
    run = make_run(
        [[1, 0], [None, 0]],
        [[1, 0]] * 2,
        ["a", "b"],
        metrics=[
            metric("section/X", ("subset/a", None), ("subset/gone", None)),
            metric("section/Y", ("subset/b", None)),
            metric("score", ("section/X", 1.0), ("section/Y", 1.0)),
        ],
    )
    assert metric_values(run) == {"score": 1.0, "section/X": 1.0, "subset/a": 1.0}


def test_a_metric_may_judge_the_same_examples_by_another_outcome(make_run: RunMaker) -> None:
    run = make_run(
        [[2, 1], [1, 1]],
        [[1, 0], [1, 1]],
        ["s", "s"],
        metrics=[
            metric("score", ("subset/s", None)),
            metric("group/G", ("subset/s", None), outcome="agreement"),
            metric("both", ("score", 1.0), ("group/G", 3.0)),
        ],
    )
    values = metric_values(run)
    assert (values["score"], values["group/G"], values["both"]) == (1, 1, 1)
    y, w, _, _ = per_example(run, "both")
    np.testing.assert_allclose(w, [0.25 + 0.375, 0.375])
    assert float(np.nansum(w * y)) == pytest.approx(values["both"])


def test_a_metric_that_contains_itself_is_refused(make_run: RunMaker) -> None:
    loop = [metric("score", ("x", 1.0)), metric("x", ("score", 1.0))]
    with pytest.raises(LeaderboardError, match="part of itself: score -> x"):
        metric_values(make_run([[1, 0]], [[1, 0]], metrics=loop))


def test_an_unknown_key_names_the_known_ones(make_run: RunMaker) -> None:
    run = make_run([[1, 0]], [[1, 0]])
    with pytest.raises(LeaderboardError, match="'section/Chatt' is not a metric of toy; known: score"):
        per_example(run, "section/Chatt")
    with pytest.raises(LeaderboardError, match="'bon/3' is not a metric of toy"):
        per_example(run, "bon/3")


def test_margins_within_rounding_are_undetermined(make_run: RunMaker) -> None:
    run = make_run([[2, 1], [1.001, 1], [1, 1.001], [1, 1]], [[1, 0]] * 4)
    assert [counts(run, bound)["undetermined"] for bound in (0.0, 0.0005, 0.002, 1.5)] == [0, 1, 3, 4]


def test_counts_tell_ties_cuts_and_which_ties_decide(make_run: RunMaker) -> None:
    run = make_run(
        [[1, 1, 0], [2, 2, 0], [3, 1, 1]],
        [[1, 0, 0], [1, 1, 0], [1, 0, 0]],
        outcome="best_of_n",
        cut=[[True, True, False], [False] * 3, [False] * 3],
    )
    told = counts(run)
    assert (told["ties"], told["decisive_ties"], told["cut"], told["cut_responses"]) == (2, 1, 1, 2)


def test_margins_are_correct_minus_wrong(make_run: RunMaker) -> None:
    run = make_run([[1, 3, 2], [1, 1], [1, None]], [[1, 0, 0], [1, 0], [1, 0]])
    np.testing.assert_array_equal(margins(run), [-2, 0, NAN])


def test_nothing_at_all_has_no_metrics(make_run: RunMaker) -> None:
    run = make_run([], [])
    assert metric_values(run) == {}
    assert counts(run)["examples"] == 0


def test_strata_are_subsets_only_where_weights_differ(make_run: RunMaker) -> None:
    run = make_run(
        [[1, 0]] * 3,
        [[1, 0]] * 3,
        ["a", "b", "b"],
        metrics=[
            metric("score", ("subset/a", 1.0), ("subset/b", 1.0)),
            metric("all", ("subset/a", None), ("subset/b", None)),
        ],
        clusters=["p", None, "p"],
    )
    np.testing.assert_array_equal(per_example(run, "score").strata, [0, 1, 1])
    np.testing.assert_array_equal(per_example(run, "all").strata, [0, 0, 0])
    np.testing.assert_array_equal(per_example(run, "all").clusters, [0, 1, 0])


def test_all_weights_sum_to_one(make_run: RunMaker) -> None:
    rng = np.random.default_rng(0)
    run = Measured(
        make_run(
            rng.normal(size=(30, 4)).tolist(),
            rng.integers(0, 2, (30, 4)).tolist(),
            [f"s{i % 3}" for i in range(30)],
            outcome="best_of_n",
            answers=[["1", "2", None, "3"]] * 30,
        )
    )
    for key in run.keys():  # noqa: SIM118 - Measured is no mapping
        assert run.flat(key)[1].sum() == pytest.approx(1)
