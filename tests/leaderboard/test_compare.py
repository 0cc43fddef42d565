"""Intervals and paired comparisons of runs: the right method, the right join, honest answers at the edges."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from leaderboard._errors import LeaderboardError
from leaderboard.compare import compare, compare_many, interval
from leaderboard.metrics import Measured
from results.records import RunRewards

RunMaker = Callable[..., RunRewards]


def pairs(right: list[int]) -> list[list[float]]:
    """Rewards that get the pairs marked 1 right, with [1, 0] as labels."""
    return [[1.0, 0.0] if r else [0.0, 1.0] for r in right]


def metric(key: str, *parts: tuple[str, float | None]) -> dict[str, Any]:
    return {"key": key, "parts": [list(part) for part in parts], "outcome": "accuracy"}


TWO_SUBSETS = [metric("score", ("subset/a", 1.0), ("subset/b", 1.0))]


@pytest.fixture
def seven_to_one(make_run: RunMaker) -> tuple[RunRewards, RunRewards]:
    """20 pairs: the first run alone is right on 7, the second alone on 1."""
    first = make_run(pairs([1] * 7 + [0] + [1] * 12), [[1, 0]] * 20)
    return first, make_run(pairs([0] * 7 + [1] + [1] * 12), [[1, 0]] * 20)


def test_equal_weights_are_compared_by_mcnemar(seven_to_one: tuple[RunRewards, RunRewards]) -> None:
    found = compare(*seven_to_one)
    assert (found.method, found.wins, found.losses, found.n, found.units) == ("mcnemar", 7, 1, 20, 20)
    assert found.p == pytest.approx(0.0703125)  # the golden value of STATISTICS for 1 and 7
    assert found.difference == pytest.approx(0.3)
    assert found.low < 0.3 < found.high
    assert found.whole


def test_the_other_way_round_is_the_mirror_image(seven_to_one: tuple[RunRewards, RunRewards]) -> None:
    there, back = compare(*seven_to_one), compare(*seven_to_one[::-1])
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    assert (back.p, back.wins, back.losses) == (there.p, there.losses, there.wins)


def test_a_method_can_be_asked_for_by_its_file_name(seven_to_one: tuple[RunRewards, RunRewards]) -> None:
    assert compare(*seven_to_one, method="midp").p == pytest.approx(0.0390625)
    with pytest.raises(LeaderboardError, match="unknown paired test 'mcnemer'; known: mcnemar, midp, signflip"):
        compare(*seven_to_one, method="mcnemer")


def test_the_sign_flip_agrees_with_mcnemar_on_plain_pairs(seven_to_one: tuple[RunRewards, RunRewards]) -> None:
    # Flipping 8 discordant pairs is the binomial: the same exact p, up to Monte Carlo error.
    assert compare(*seven_to_one, method="signflip").p == pytest.approx(0.0703125, abs=0.01)


def test_weights_call_for_the_sign_flip_and_mcnemar_is_refused(make_run: RunMaker) -> None:
    first = make_run(pairs([1, 1, 0, 1]), [[1, 0]] * 4, ["a", "a", "a", "b"], metrics=TWO_SUBSETS)
    second = make_run(pairs([0, 1, 1, 0]), [[1, 0]] * 4, ["a", "a", "a", "b"], metrics=TWO_SUBSETS)
    found = compare(first, second)
    assert found.method == "signflip"
    # differences 1/6, 0, -1/6, 1/2: |sum| >= 1/2 for 12 of the 16 patterns (all but the 4 with 1/2 - 1/3)
    assert found.p == 0.75
    with pytest.raises(LeaderboardError, match=r"McNemar exact needs equal weights.*score"):
        compare(first, second, method="mcnemar")


def test_examples_that_repeat_a_problem_are_flipped_together(make_run: RunMaker) -> None:
    problems = [f"p{i % 3}" for i in range(12)]
    first = make_run(pairs([1] * 12), [[1, 0]] * 12, clusters=problems)
    second = make_run(pairs([0] * 12), [[1, 0]] * 12, clusters=problems)
    found = compare(first, second)
    assert (found.method, found.units) == ("signflip", 3)
    assert found.p == 0.25  # 2 of 2^3 patterns; 12 independent examples would have said .0005


def test_runs_are_joined_by_id_not_by_row(make_run: RunMaker) -> None:
    right = [1, 0, 1, 0, 1, 1]
    ids = list("abcdef")
    run = make_run(pairs(right), [[1, 0]] * 6, ids=ids)
    shuffled = make_run(pairs(right[::-1]), [[1, 0]] * 6, ids=ids[::-1])
    found = compare(run, shuffled)
    assert (found.wins, found.losses, found.n, found.p) == (0, 0, 6, 1.0)


def test_the_first_run_may_hold_only_some_of_the_examples(make_run: RunMaker) -> None:
    full = make_run(pairs([1, 0, 0, 1]), [[1, 0]] * 4, ids=list("abcd"))
    part = make_run(pairs([1, 1]), [[1, 0]] * 2, ids=list("cb"))
    found = compare(part, full)
    assert (found.n, found.wins, found.a, found.b, found.whole) == (2, 2, 1.0, 0.0, False)


def test_what_one_run_did_not_score_is_left_out_of_both(make_run: RunMaker) -> None:
    first = make_run([[1, 0], [None, 0], [1, 0]], [[1, 0]] * 3, ["a", "a", "b"], metrics=TWO_SUBSETS)
    second = make_run(pairs([0, 1, 1]), [[1, 0]] * 3, ["a", "a", "b"], metrics=TWO_SUBSETS)
    found = compare(first, second)
    assert (found.n, found.a, found.b) == (2, 1.0, 0.5)  # subset a is one example now, still worth one half
    assert not found.whole


def test_pairs_of_responses_with_other_labels_are_not_compared(make_run: RunMaker) -> None:
    first = make_run([[1, 0, 2]], [[1, 0, 0]], ids=["q7"], outcome="best_of_n")
    for labels in ([[0, 1, 0]], [[1, 0]]):
        other = make_run([[1.0] * len(labels[0])], labels, ids=["q7"], outcome="best_of_n")
        with pytest.raises(LeaderboardError, match=r"other responses or labels of toy .*'q7'"):
            compare(first, other, "bon/1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "other"}, "compare one task"),
        ({"outcome": "agreement"}, "by different rules"),
        ({"metrics": [metric("score", ("subset/a", 2.0))]}, r"by different rules \(score\)"),
        ({"ids": ["x", "x"]}, "two examples 'x'"),
        ({"ids": ["y", "z"]}, "no example of toy in common"),
    ],
)
def test_runs_that_cannot_be_compared_say_why(make_run: RunMaker, change: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"subsets": ["a", "b"], "metrics": TWO_SUBSETS}
    with pytest.raises(LeaderboardError, match=message):
        compare(
            make_run(pairs([1, 0]), [[1, 0]] * 2, **usual), make_run(pairs([1, 0]), [[1, 0]] * 2, **{**usual, **change})
        )


def test_plain_proportions_get_wilson(make_run: RunMaker) -> None:
    run = make_run(pairs([1] * 81 + [0] * 182), [[1, 0]] * 263)
    found = interval(run)
    assert found.method == "wilson"
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_weighted_and_clustered_scores_get_their_own_standard_error(make_run: RunMaker) -> None:
    right, subsets = [1, 1, 0, 1, 0, 1, 0, 0], ["a"] * 4 + ["b"] * 4
    rule = [metric("score", ("subset/a", 1.0), ("subset/b", 3.0))]
    found = interval(make_run(pairs(right), [[1, 0]] * 8, subsets, metrics=rule))
    # score .375; s^2 = 1/4 in both: SE = sqrt((1/4)^2 (1/4)/4 + (3/4)^2 (1/4)/4) = sqrt(10)/16
    assert found.method == "stratified"
    assert (found.low, found.high) == pytest.approx((0.0, 0.375 + 1.959964 * math.sqrt(10) / 16), rel=1e-6)
    assert interval(make_run(pairs(right), [[1, 0]] * 8, clusters=list("xxyyzzww"))).method == "clustered"


def test_no_spread_is_not_certainty(make_run: RunMaker) -> None:
    run = make_run(pairs([1] * 6), [[1, 0]] * 6, ["a"] * 4 + ["b"] * 2, metrics=TWO_SUBSETS)
    found = interval(run)
    assert (found.method, found.high) == ("effective", 1.0)
    assert 0.3 < found.low < 0.7  # (sum w)^2 / sum w^2 = 5.33 effective examples


def test_one_example_says_next_to_nothing(make_run: RunMaker) -> None:
    one, other = make_run([[1, 0]], [[1, 0]]), make_run([[0, 1]], [[1, 0]])
    assert interval(one).low < 0.25
    found = compare(one, other)
    assert found.p == 1
    assert found.low < 0 < found.high
    assert math.isnan(found.mde)


def test_identical_runs_are_equal_with_an_interval_of_some_width(make_run: RunMaker) -> None:
    run = make_run(pairs([1, 0] * 50), [[1, 0]] * 100)
    found = compare(run, run)
    assert (found.p, found.difference, found.wins, found.losses) == (1.0, 0.0, 0, 0)
    assert found.low < 0 < found.high
    assert 0 < found.mde < 0.1


def test_a_key_without_shared_outcomes_has_no_values(make_run: RunMaker) -> None:
    first = make_run([[None, 0], [1, 0]], [[1, 0]] * 2, ["a", "b"])
    second = make_run(pairs([1, 1]), [[1, 0]] * 2, ["a", "b"])
    found = compare(first, second, "subset/a")
    assert found.n == 0
    assert math.isnan(found.p)
    assert math.isnan(found.difference)
    assert interval(first, "subset/a").method == "none"


def test_many_at_once_say_the_same_as_one_by_one_and_adjust_by_holm(make_run: RunMaker) -> None:
    rng = np.random.default_rng(3)
    subsets = ["a"] * 30 + ["b"] * 10
    runs = [
        Measured(make_run(rng.normal(0.5, 1, (40, 2)).tolist(), [[1, 0]] * 40, subsets, metrics=TWO_SUBSETS))
        for _ in range(4)
    ]
    table = compare_many(runs[1:], runs[0], seed=5)
    assert set(table[0]) == {"score", "subset/a", "subset/b"}
    for row, run in zip(table, runs[1:], strict=True):
        alone = compare(run, runs[0], "score", seed=5)
        assert (alone.p, alone.difference, alone.low) == (row["score"].p, row["score"].difference, row["score"].low)
    smallest = min(table, key=lambda row: row["subset/a"].p)["subset/a"]
    assert smallest.p_adjusted == pytest.approx(min(1, 3 * smallest.p))


def test_nothing_to_compare_is_no_error(make_run: RunMaker) -> None:
    empty = make_run([], [])
    assert compare_many([], empty) == []
    assert compare_many([empty], empty) == [{}]


def rewardmath(data_dir: Path, name: str) -> dict[str, tuple[float, float]]:
    rows = json.loads((data_dir / "rewardmath" / "math_prm" / f"rewardbench_{name}.json").read_text())
    return {row["problem"]: row for row in rows}


@pytest.mark.data
def test_real_reward_models_give_scipys_p_values(make_run: RunMaker, data_dir: Path) -> None:
    """math-prm rewards of ArmoRM and Eurus, in two orders: joined by problem, p as binomtest has it."""
    runs, right = [], []
    for name in ("ArmoRM", "Eurus-RM"):
        rows = rewardmath(data_dir, name)
        scores = {key: [float(np.ravel(row["score"][side])[0]) for side in (0, 1)] for key, row in rows.items()}
        right.append({key: a > b for key, (a, b) in scores.items()})
        runs.append(make_run(list(scores.values()), [[1, 0]] * len(scores), ids=list(scores)))
    assert runs[0].example_ids != runs[1].example_ids
    wins = sum(right[0][key] and not right[1][key] for key in right[0])
    losses = sum(right[1][key] and not right[0][key] for key in right[0])
    found = compare(*runs)
    assert (found.wins, found.losses) == (wins, losses)
    assert found.p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
