"""`harness sweep`: every lambda in memory; the same candidates and rewards as merges written to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [
        {"id": str(i), "prompt": f"what is {i} and {i}", "responses": [f"it is {2 * i}", "it is not that", "all of it"],
         "correct": [True, False, False]} for i in range(20)
    ]  # fmt: skip
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_recipe(path: Path, tiny: Path, **more: Any) -> Path:
    recipe = {"rm": str(tiny / "rm"), "experts": [{"model": str(tiny / "sft")}], **more}
    path.write_text(json.dumps(recipe))  # JSON is YAML
    return path


def rewards(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    import duckdb

    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(
            "SELECT c.id, e.id, w.response, w.reward FROM rewards w JOIN candidates c ON c.key = w.candidate"
            " JOIN examples e ON e.key = w.example ORDER BY ALL"
        ).fetchall()
    found: dict[str, list[tuple[Any, ...]]] = {}
    for candidate, *rest in rows:
        found.setdefault(candidate, []).append(tuple(rest))
    return found


def test_a_sweep_gives_the_rewards_of_saved_merges(harness: Any, tiny: Path, task: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "sweep.yaml", tiny, sweep=[0.6, 0.2, 0.6], baselines=["rm", "baseline:length"])
    swept = harness("sweep", recipe, "--task-file", f"mine={task}", "--db", "memory.duckdb", "--json")
    assert swept.returncode == 0, swept.stderr
    for weight in ("0.2", "0.6"):
        merged = harness("merge", "--rm", tiny / "rm", "--sft", tiny / "sft", "--lambda", weight, "-o", f"m{weight}")
        assert merged.returncode == 0, merged.stderr
    saved = harness("eval", "--model", tiny / "rm", "--model", "m0.2", "--model", "m0.6", "--model", "baseline:length",
                    "--task-file", f"mine={task}", "--db", "disk.duckdb", "--json")  # fmt: skip
    assert saved.returncode == 0, saved.stderr
    memory, disk = rewards(tmp_path / "memory.duckdb"), rewards(tmp_path / "disk.duckdb")
    assert len(memory) == 4
    assert memory == disk
    assert len({tuple(values) for values in memory.values()}) == 4  # four candidates, four different reward models


def test_a_recipe_with_one_lambda_is_a_model(harness: Any, tiny: Path, task: Path, tmp_path: Path) -> None:
    recipe = {"rm": str(tiny / "rm"), "experts": [{"model": str(tiny / "sft"), "weight": 0.3}]}
    (tmp_path / "one.yaml").write_text(json.dumps(recipe))
    done = harness("eval", "--model", "one.yaml", "--task-file", f"mine={task}", "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["candidate"] == "rm + 0.3 sft"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sweep": "0:1"}, "sweep: '0:1' is not START:STOP:STEP"),
        ({"sweep": "0:1:0.3"}, "does not reach 1 in whole steps of 0.3"),
        ({"sweep": [0.5, 1.5]}, "lambda must be between 0 and 1, not 1.5"),
        ({"sweep": [0.5], "taks": ["autoj"]}, "unknown key 'taks': did you mean 'tasks'?"),
        ({}, "experts[0].weight is missing"),
        ({"sweep": [0.5], "method": "liner"}, "did you mean 'linear'?"),
        ({"sweep": [0.5], "baselines": ["baseline:lenght"]}, "did you mean 'length'?"),
        ({"sweep": [0.5], "rm": "nowhere"}, "nowhere: there is no such folder"),
    ],
)
def test_bad_recipes_are_one_sentence(
    harness: Any, tiny: Path, task: Path, tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", tiny, **change)
    done = harness("sweep", recipe, "--task-file", f"mine={task}")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "harness.duckdb").exists()


def test_a_sweep_without_tasks_says_so(harness: Any, tiny: Path, tmp_path: Path) -> None:
    done = harness("sweep", write_recipe(tmp_path / "r.yaml", tiny, sweep=[0.5]))
    assert done.returncode == 2
    assert "give 'tasks' in the recipe, or --tasks" in done.stderr
