"""RewardBench's tree of metrics, against published section scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboard.metrics import metric_values
from results.records import RunRewards

RunMaker = Callable[..., RunRewards]

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
        metrics.append({"key": f"section/{section}", "parts": [[f"subset/{s}", weight.get(s)] for s in sizes]})
        for subset, n in sizes.items():
            right = round(accuracy[subset] * n)
            rewards += [[1.0, 0.0]] * right + [[0.0, 1.0]] * (n - right)
            subsets += [subset] * n
    metrics.append({"key": "score", "parts": [[f"section/{s}", 1.0] for s in REWARDBENCH]})
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
