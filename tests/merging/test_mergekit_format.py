"""The subset of mergekit's YAML that is read: what it becomes, and that nothing else passes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config import read_recipe
from harness.errors import ConfigError

LINEAR: dict[str, Any] = {
    "merge_method": "linear",
    "models": [
        {"model": "org/sft", "parameters": {"weight": 1}},
        {"model": "org/rm", "parameters": {"weight": 3}},
    ],
    "base_model": "org/rm",
    "dtype": "bfloat16",
    "tokenizer": {"source": "union"},
}
TASK: dict[str, Any] = {
    "merge_method": "task_arithmetic",
    "base_model": "org/base",
    "models": [
        {"model": "org/base"},
        {"model": "org/rm", "parameters": {"weight": 1.0}},
        {"model": "org/sft", "parameters": {"weight": 0.3}},
    ],
}


def read(tmp_path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(raw))
    return read_recipe(tmp_path / "m.yaml").model_dump(exclude_defaults=True)


def test_linear_weights_become_shares_and_base_model_names_the_reward_model(tmp_path: Path) -> None:
    assert read(tmp_path, LINEAR) == {
        "rm": "org/rm", "experts": [{"model": "org/sft", "weight": 0.25}], "dtype": "bfloat16",
    }  # fmt: skip


def test_without_base_model_the_first_is_the_reward_model(tmp_path: Path) -> None:
    raw = {key: value for key, value in LINEAR.items() if key != "base_model"}
    assert read(tmp_path, raw)["rm"] == "org/sft"


def test_task_arithmetic(tmp_path: Path) -> None:
    assert read(tmp_path, TASK) == {
        "rm": "org/rm", "experts": [{"model": "org/sft", "weight": 0.3}], "base": "org/base",
        "method": "task_arithmetic",
    }  # fmt: skip
    assert read(tmp_path, {**TASK, "merge_method": "dare_ties"})["options"] == {"density": 1.0}  # mergekit's default


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slices": []}, "slices: unknown key of mergekit's format"),
        ({"parameters": {"normalize": False}}, "parameters: unknown key"),
        ({"merge_method": "slerp"}, "'slerp' cannot be taken over"),
        ({"tokenizer": {"source": "base"}}, "only 'union' is supported"),
        ({"tokenizer": {"source": "union", "tokens": {}}}, r"tokenizer\.tokens: unknown key"),
        ({"base_model": "org/else"}, "is not among the models"),
        ({"models": []}, "must be a list of models"),
        ({"models": [{"model": "a", "weight": 1}]}, r"models\[0\]\.weight: unknown key"),
        ({"models": [{"model": "a", "parameters": {"density": 1}}]}, r"models\[0\]\.parameters\.density"),
        ({"models": [{"model": "a", "parameters": {"weight": [0, 1]}}]}, "must be one number"),
        ({"models": [{"model": "org/rm"}]}, "at least one expert"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, {**copy.deepcopy(LINEAR), **change})


def test_a_reward_model_with_another_weight_is_refused(tmp_path: Path) -> None:
    raw = copy.deepcopy(TASK)
    raw["models"][1]["parameters"]["weight"] = 0.7
    with pytest.raises(ConfigError, match="'org/rm' must have the weight 1"):
        read(tmp_path, raw)
    with pytest.raises(ConfigError, match="base_model is missing"):
        read(tmp_path, {key: value for key, value in TASK.items() if key != "base_model"})
