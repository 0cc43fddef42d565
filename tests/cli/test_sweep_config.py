"""Sweeps as configuration: grids, overrides, shipped recipes, the plan that --dry-run prints; bad input by the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness._grid import read_sweep, shipped
from harness.errors import ConfigError, ScoringError
from harness.scoring._prompts import system_prompt


def write(path: Path, **recipe: Any) -> str:
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return str(path)


@pytest.fixture
def grid(tiny: Path, tmp_path: Path) -> str:
    """2 reward models x 3 sets of experts x 2 methods x 2 lambdas."""
    rm, sft = str(tiny / "rm"), str(tiny / "sft")
    return write(
        tmp_path / "grid.yaml",
        grid={
            "rm": [rm, rm + "/"],
            "experts": [sft, [sft, {"model": sft}], [{"model": sft}]],
            "method": ["linear", {"method": "ties", "base": sft, "options": {"density": 0.5}}],
        },
        sweep="0.2:0.4:0.2",
        baselines=["rm"],
    )


def test_a_grid_is_every_combination(grid: str, tiny: Path) -> None:
    recipes = read_sweep(grid).recipes
    assert len(recipes) == 12
    assert [len(r.experts) for r in recipes[:6]] == [1, 1, 2, 2, 1, 1]
    assert {(r.method, r.base, r.options.get("density")) for r in recipes} == {
        ("linear", None, None),
        ("ties", str(tiny / "sft"), 0.5),
    }
    assert all(r.sweep == [0.2, 0.4] and r.baselines == ["rm"] for r in recipes)


def test_the_shown_configuration_reads_back_as_the_same_recipes(grid: str, harness: Any, tmp_path: Path) -> None:
    shown = harness("sweep", grid, "--set", "sweep=[0.3]", "--set", "protocol.max_length=64", "--show-config")
    assert shown.returncode == 0, shown.stderr
    (tmp_path / "again.yaml").write_text(shown.stdout)
    again = read_sweep(str(tmp_path / "again.yaml")).recipes
    assert list(again) == list(read_sweep(grid, ["sweep=[0.3]", "protocol.max_length=64"]).recipes)
    assert {(r.protocol.max_length, tuple(r.sweep or ())) for r in again} == {(64, (0.3,))}


def test_every_combination_is_a_candidate_once(harness: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        json.dumps({"id": "0", "prompt": "what is", "responses": ["this", "that"], "correct": [True, False]}) + "\n"
    )
    recipe = write(
        tmp_path / "r.yaml",
        rm=str(tiny / "rm"),
        grid={"experts": [str(tiny / "sft"), [str(tiny / "sft")]], "method": ["linear", "slerp"]},
        sweep=[0.2, 0.4],
        baselines=["rm"],
    )
    done = harness("sweep", recipe, "--task-file", f"mine={tmp_path / 't.jsonl'}", "--json")
    assert done.returncode == 0, done.stderr
    names = [run["candidate"] for run in json.loads(done.stdout)["runs"]]
    assert names == ["rm", "rm + 0.2 sft", "rm + 0.4 sft", "rm + 0.2 sft (slerp)", "rm + 0.4 sft (slerp)"]


@pytest.mark.parametrize(
    ("recipe", "override", "sentence"),
    [
        ({"grid": {"rms": ["A"]}}, "", "grid: 'rms' cannot be varied: did you mean 'rm'"),
        ({"grid": {"rm": "A"}}, "", "grid.rm: expected a list of values"),
        ({"grid": ["rm"]}, "", "grid: it is a mapping"),
        ({"rm": "A", "grid": {"rm": ["B"]}}, "", "'rm' stands in the grid and outside it"),
        ({"rm": "A", "grid": {"experts": ["B", {"modle": "C"}]}, "sweep": [0.1]}, "", "grid.experts[1]"),
        ({"rm": "A", "experts": ["B"], "sweep": [0.1]}, "sweep=[2]", "--set sweep: lambda must be between 0 and 1"),
        ({"rm": "A", "experts": ["B"], "sweep": [0.1]}, "swep=[1]", "did you mean 'sweep'"),
        ({"rm": "A", "experts": ["B"], "sweep": [0.1]}, "sweep", "expected KEY=VALUE"),
        ({"rm": "A", "experts": ["B"], "sweep": [0.1]}, "experts.3.weight=1", "'3' is not a place in a list of 1"),
        ({"rm": "A", "experts": ["B"], "sweep": [0.1]}, "rm.x=1", "'rm' is a single value"),
        ({"rm": "A", "experts": ["B"], "sweep": [0.1]}, "rm=[", "is not valid YAML"),
    ],
)
def test_bad_configuration_is_one_sentence(recipe: Any, override: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)^[^\n]*$") as raised:
        read_sweep(write(tmp_path / "bad.yaml", **recipe), [override] if override else [])
    assert sentence in str(raised.value)


def test_an_unknown_recipe_names_the_shipped_ones(harness: Any) -> None:
    asked = harness("sweep", "dogerm-lama2")
    assert asked.returncode == 2
    assert "did you mean 'dogerm-llama2'" in asked.stderr


def test_a_grid_is_no_single_merge(grid: str, harness: Any) -> None:
    asked = harness("merge", grid, "-o", "merged")
    assert asked.returncode == 2
    assert "'harness sweep' evaluates them" in asked.stderr


def test_shipped_recipes_are_the_papers_systems() -> None:
    llama = read_sweep("dogerm-llama2").recipes
    assert [r.experts[0].model for r in llama] == [
        "meta-math/MetaMath-7B-V1.0",
        "TIGER-Lab/MAmmoTH-7B",
        "miulab/llama2-7b-magicoder-evol-instruct",
    ]
    assert {r.rm for r in llama} == {"miulab/llama2-7b-ultrafeedback-rm"}
    for name in shipped():
        for recipe in read_sweep(name).recipes:
            assert recipe.sweep == [round(i / 20, 2) for i in range(21)]
            assert recipe.task_options == {"rewardbench": {"weights": "pre-2024-09-10"}}
            assert recipe.protocol.max_length == 2048


def test_the_named_prompt_is_the_papers_text() -> None:
    text = system_prompt("name:llama-2-chat")
    assert text is not None
    assert text.startswith("You are a helpful, respectful and honest assistant.")
    assert "don\u2019t" in text
    assert "don't" not in text
    with pytest.raises(ScoringError, match="llama-2-chat"):
        system_prompt("name:llama-2")


def test_a_dry_run_counts_everything_and_writes_nothing(harness: Any, tiny: Path, tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "prompt": f"what is {i}", "responses": ["it is", "it is", "not"], "correct": [True, True, False]}
        for i in range(4)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = write(tmp_path / "r.yaml", rm=str(tiny / "rm"), experts=[str(tiny / "sft")], sweep=[0.2, 0.4])
    ask = ["sweep", recipe, "--task-file", f"mine={tmp_path / 't.jsonl'}", "--json", "--set", "baselines=[rm]"]
    dry = harness(*ask, "--dry-run", "--price", "2", "--tflops", "0.001")
    assert dry.returncode == 0, dry.stderr
    plan = json.loads(dry.stdout)
    (task,) = plan["tasks"]
    assert (task["examples"], task["responses"], task["candidates"], task["rewards"]) == (4, 12, 3, 36)
    assert task["stored"] == 0
    assert 0 < task["computed"] < task["tokens"]  # prompts shared, the doubled response computed once
    assert plan["cost"] == pytest.approx(plan["seconds"] / 3600 * 2)
    assert plan["seconds"] == pytest.approx(task["operations"] / 1e9)
    assert not (tmp_path / "harness.duckdb").exists()
    assert harness(*ask).returncode == 0
    stored = json.loads(harness(*ask, "--dry-run").stdout)["tasks"][0]
    assert (stored["stored"], stored["tokens"], stored["computed"]) == (36, 0, 0)
    told = harness(*ask[:-3], "--dry-run")
    assert "2 candidates: rm + 0.2 sft, rm + 0.4 sft" in told.stdout
