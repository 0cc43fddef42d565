"""Best-of-N keys of a run, against values computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leaderboard.metrics import counts, metric_values
from results.records import RunRewards

RunMaker = Callable[..., RunRewards]


def test_best_of_n_keys_by_hand(make_run: RunMaker) -> None:
    # Golden: rewards .1 .9 .5 .5 with correct 0 1 1 0 give .5, .75, (.875), 1 for n = 1, 2, (3), 4.
    run = make_run([[0.1, 0.9, 0.5, 0.5]], [[0, 1, 1, 0]], outcome="best_of_n", answers=[["7", "8", "8", None]])
    assert metric_values(run) == pytest.approx(
        {
            "score": 1.0,
            "subset/all": 1.0,
            "bon/1": 0.5,
            "bon/2": 0.75,
            "bon/4": 1.0,
            "oracle/1": 0.5,
            "oracle/2": 5 / 6,
            "oracle/4": 1.0,
            # n=2: {7,8} x2 -> 1/2, {7,-} -> 0, {8,8} -> 1, {8,-} x2 -> 1; mean 4/6
            "majority/1": 0.5,
            "majority/2": 4 / 6,
            "majority/4": 1.0,
            "first/1": 0.0,
            "first/2": 1.0,
            "first/4": 1.0,
            "random": 0.5,
        }
    )


def test_majority_keys_are_absent_where_no_response_has_an_answer(make_run: RunMaker) -> None:
    values = metric_values(make_run([[1, 0, 2]], [[1, 0, 1]], outcome="best_of_n"))
    assert not [key for key in values if key.startswith("majority")]
    assert "bon/2" in values
    assert "bon/4" not in values


def test_the_ladder_ends_at_the_largest_power_of_two_that_every_question_has(make_run: RunMaker) -> None:
    rewards = [[float(i) for i in range(9)], [1.0, 0.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    run = make_run(rewards, [[0] * 8 + [1], [0] * 6 + [1]], outcome="best_of_n")
    values = metric_values(run)
    assert [key for key in values if key.startswith("bon/")] == ["bon/1", "bon/2", "bon/4"]
    assert values["score"] == values["bon/4"] == pytest.approx((4 / 9 + 4 / 7) / 2)  # best one is drawn


def test_questions_with_an_unknown_label_or_an_unscored_response_are_excluded_and_counted(
    make_run: RunMaker,
) -> None:
    run = make_run(
        [[2, 1], [2, 1], [None, 1]],
        [[1, 0], [-1, 0], [1, 0]],
        outcome="best_of_n",
        answers=[["a", "b"]] * 3,
    )
    values = metric_values(run)
    assert {values[key] for key in ("score", "bon/2", "oracle/2", "first/2")} == {1.0}
    assert values["random"] == 0.5
    told = counts(run)
    assert (told["unlabelled"], told["unscored"], told["unscored_responses"], told["outcomes"]) == (1, 1, 1, 1)


def test_one_correct_of_ten_reports_accuracy_and_best_of_n(make_run: RunMaker) -> None:
    rows = [[10 - i for i in range(10)], [0, *range(1, 10)]]
    run = make_run(rows, [[1] + [0] * 9] * 2)
    values = metric_values(run)
    assert values["score"] == 0.5
    assert values["bon/8"] == pytest.approx(0.4)  # the right one leads whenever drawn, 8 of 10; the other never
    assert values["bon/1"] == pytest.approx(values["random"]) == pytest.approx(0.1)


def test_pairs_and_mixed_sizes_get_no_best_of_n_keys(make_run: RunMaker) -> None:
    assert "bon/1" not in metric_values(make_run([[1, 0]], [[1, 0]]))
    assert "bon/1" not in metric_values(make_run([[1, 0, 2], [1, 0, 2, 3]], [[1, 0, 0], [1, 0, 0, 0]]))


def test_best_of_n_keys_share_the_scores_weights(make_run: RunMaker) -> None:
    run = make_run(
        [[1, 0], [0, 1], [0, 1]],
        [[1, 0]] * 3,
        ["a", "b", "b"],
        outcome="best_of_n",
        metrics=[{"key": "score", "parts": [["subset/a", 1.0], ["subset/b", 1.0]], "outcome": "best_of_n"}],
    )
    values = metric_values(run)
    assert values["score"] == values["bon/2"] == 0.5
