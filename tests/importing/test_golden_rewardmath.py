"""Five published reward models on RewardBench's maths pairs: imported files give the accuracy of their raw scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.data

MODELS = ("ArmoRM", "Eurus-RM", "internlm2", "internlm2-20b", "oasst-rm")


def test_imported_accuracies_are_those_of_the_raw_files(harness: Any, data_dir: Path) -> None:
    partial = data_dir / "rewardbench_partial" / "rewardbench_partial.jsonl"
    for model in MODELS:
        file = data_dir / "rewardmath" / "math_prm" / f"rewardbench_{model}.json"
        rows = json.loads(file.read_text())
        expected = sum(row["score"][0] > row["score"][1] for row in rows) / len(rows)
        assert len(rows) == 447
        done = harness("scores", "import", file, "--task", "rewardbench", "--candidate", model,
                       "--data", f"rewardbench={partial}", "--json")  # fmt: skip
        (run,) = json.loads(done.stdout)["runs"]
        assert run["metrics"]["subset/math-prm"] == pytest.approx(expected, abs=1e-12)
        assert (run["status"], run["unscored"]) == ("partial", 1850 - 447)


def test_best_of_ten_files_have_no_examples_among_the_pairs(harness: Any, data_dir: Path, tmp_path: Path) -> None:
    partial = data_dir / "rewardbench_partial" / "rewardbench_partial.jsonl"
    file = data_dir / "rewardmath" / "RewardMATH" / "ArmoRM_reward.json"
    done = harness("scores", "import", file, "--task", "rewardbench", "--candidate", "m",
                   "--data", f"rewardbench={partial}")  # fmt: skip
    assert done.returncode == 2
    assert "10 scores for rewardbench example" in done.stderr
    rows = json.loads(file.read_text())
    task = [
        {"id": str(i), "prompt": row["problem"], "responses": [f"solution {j}" for j in range(10)],
         "correct": [j == 0 for j in range(10)]}
        for i, row in enumerate(reversed(rows))
    ]  # fmt: skip
    (tmp_path / "ten.jsonl").write_text("\n".join(map(json.dumps, task)))
    done = harness("scores", "import", file, "--task-file", "ten=ten.jsonl", "--candidate", "m", "--json")
    expected = sum(row["score"][0] > max(row["score"][1:]) for row in rows) / len(rows)
    assert json.loads(done.stdout)["runs"][0]["metrics"]["score"] == pytest.approx(expected, abs=1e-12)
