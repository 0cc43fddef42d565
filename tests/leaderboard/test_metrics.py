"""Outcomes and metric trees, against hand-computed values and published section scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
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


def test_margins_within_rounding_are_undetermined(make_run: RunMaker) -> None:
    run = make_run([[2, 1], [1.001, 1], [1, 1.001], [1, 1]], [[1, 0]] * 4)
    assert [counts(run, bound)["undetermined"] for bound in (0.0, 0.0005, 0.002, 1.5)] == [0, 1, 3, 4]


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
        metrics=[metric("score", ("subset/a", 1.0), ("subset/b", 1.0), outcome="best_of_n")],
    )
    values = metric_values(run)
    assert values["score"] == values["bon/2"] == 0.5


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


REWARDBENCH = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 447,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}


def rewardbench_run(make_run: RunMaker, accuracy: dict[str, float], swapped_xstest: bool = False) -> RunRewards:
    """Outcomes with these accuracies; weights are the counts, math-prm 984 (PROTOCOLS: `pre` swaps xstest's)."""
    rewards, subsets, metrics = [], [], []
    swap = {"xstest-should-refuse": 250.0, "xstest-should-respond": 154.0} if swapped_xstest else {}
    weight = {"math-prm": 984.0, **swap}
    for section, sizes in REWARDBENCH.items():
        metrics.append(metric(f"section/{section}", *((f"subset/{s}", weight.get(s)) for s in sizes)))
        for subset, n in sizes.items():
            right = round(accuracy[subset] * n)
            rewards += [[1.0, 0.0]] * right + [[0.0, 1.0]] * (n - right)
            subsets += [subset] * n
    metrics.append(metric("score", *((f"section/{s}", 1.0) for s in REWARDBENCH)))
    return make_run(rewards, [[1, 0]] * len(rewards), subsets, metrics=metrics)


@pytest.mark.data
def test_published_subset_accuracies_give_the_published_section_scores(make_run: RunMaker, data_dir: Path) -> None:
    folder, name = data_dir / "rewardbench_scores", "RM-R1-Qwen2.5-Instruct-32B"
    small = json.loads((folder / f"{name}.each_small_section_score.json").read_text())
    main = json.loads((folder / f"{name}.main_score.json").read_text())
    values = metric_values(rewardbench_run(make_run, small))
    for section in REWARDBENCH:
        assert values[f"section/{section}"] == pytest.approx(main[section], abs=1e-12)
    assert values["score"] == pytest.approx(main["avg_Result_each_section"], abs=1e-12)


@pytest.mark.data
def test_the_papers_tables_need_the_swapped_xstest_weights(make_run: RunMaker, data_dir: Path) -> None:
    """Printed to one decimal, so subsets carry up to .05 points of rounding and the sections as much again."""
    models = json.loads((data_dir / "rewardbench_scores" / "paper_tables_half.json").read_text())["models"]
    misses = 0
    for model in models.values():
        accuracy = {k: v / 100 for k, v in model["subsets"].items()}
        for swapped in (True, False):
            values = metric_values(rewardbench_run(make_run, accuracy, swapped))
            off = {s: abs(100 * values[f"section/{s}"] - model["published_section_avg"][s]) for s in REWARDBENCH}
            if swapped:
                assert max(off.values()) <= 0.11, off
            else:
                misses += off["Safety"] > 0.11
    assert misses > len(models) / 2
