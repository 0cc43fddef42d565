"""Raw rewards of five published reward models on RewardBench's 447 maths pairs, replayed: their known accuracies.

The published files are in different orders, so rows are joined by problem text, never by position.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.data

MODELS = ("ArmoRM", "Eurus-RM", "internlm2", "internlm2-20b", "oasst-rm")


def _published(data_dir: Path, model: str) -> list[dict[str, Any]]:
    rows = json.loads((data_dir / "rewardmath" / "math_prm" / f"rewardbench_{model}.json").read_text())
    return list(rows)


def _score(value: Any) -> float:
    return float(value[0] if isinstance(value, list) else value)


@pytest.mark.parametrize("model", MODELS)
def test_replayed_rewards_give_the_published_accuracy(harness: Any, data_dir: Path, tmp_path: Path, model: str) -> None:
    partial = data_dir / "rewardbench_partial" / "rewardbench_partial.jsonl"
    pairs = [row for row in map(json.loads, partial.read_text().splitlines()) if row["subset"] == "math-prm"]
    published = {row["problem"].strip(): [_score(s) for s in row["score"]] for row in _published(data_dir, model)}
    assert Counter(row["prompt"].strip() in published for row in pairs) == {True: 447}
    lines = [
        json.dumps({"task": "rewardbench", "example_id": str(row["id"]), "rewards": published[row["prompt"].strip()]})
        for row in pairs
    ]
    (tmp_path / "rewards.jsonl").write_text("\n".join(lines))
    done = harness("eval", "--backend", "replay", "--rewards", "rewards.jsonl", "--candidate", model,
                   "--tasks", "rewardbench", "--data", f"rewardbench={partial}", "--json")  # fmt: skip
    (run,) = json.loads(done.stdout)["runs"]
    expected = sum(chosen > rejected for chosen, rejected in published.values()) / 447
    assert run["status"] == "partial"
    assert run["metrics"]["subset/math-prm"] == pytest.approx(expected, abs=1e-12)
    assert run["metrics"]["category/Math"] == pytest.approx(expected, abs=1e-12)
