"""A merge scored from its folder and the same merge scored in memory: the same bits, whatever the head is called."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scoring_models import KINDS, candidate, conversation, rewards, write_model

from harness.candidate import Candidate
from harness.config import Expert, Recipe
from harness.errors import CandidateError
from harness.merging._plan import plan_merge
from harness.merging._writer import write_merge
from harness.scoring import hf
from harness.scoring._types import ScoringOptions

HEADS = {
    "score": ("score.weight", None), "score with bias": ("score.weight", "score.bias"),
    "v_head": ("v_head.summary.weight", "v_head.summary.bias"), "value_head": ("value_head.weight", None),
    "regression_head": ("regression_head.weight", "regression_head.bias"),
}  # fmt: skip


def head_called(folder: Path, weight: str, bias: str | None) -> None:
    """Give a folder's head another name, and a bias of 2."""
    path = folder / "model.safetensors"
    tensors = {(weight if name == "score.weight" else name): value for name, value in load_file(path).items()}
    if bias:
        tensors[bias] = torch.tensor([2.0])
    save_file(tensors, path, metadata={"format": "pt"})
    if not weight.startswith("score"):  # as those folders are: config.json knows nothing of the head
        config = folder / "config.json"
        config.write_text(config.read_text().replace("ForSequenceClassification", "ForCausalLM"))


def both(tmp_path: Path, dtype: str = "float32") -> tuple[dict[tuple[str, int], float | None], ...]:
    """Rewards of the merge of tmp_path's rm and sft, from memory and from disk."""
    expert = Expert(model=str(tmp_path / "sft"), weight=0.35)
    recipe = Recipe(rm=str(tmp_path / "rm"), experts=[expert])
    write_merge(plan_merge(recipe), tmp_path / "out")
    memory = Candidate("merge", "merge", "merge", recipe=recipe, detail={"sweep": "s"})
    options = ScoringOptions(dtype=dtype)
    sides = (memory, candidate(tmp_path / "out"))
    return tuple(rewards(hf.open_backend(side, options), conversation(3)) for side in sides)


@pytest.mark.parametrize("head", HEADS)
def test_heads(tmp_path: Path, head: str) -> None:
    write_model(tmp_path / "rm", "llama", seed=1)
    write_model(tmp_path / "sft", "llama", seed=2, task="CausalLM")
    before = rewards(hf.open_backend(candidate(tmp_path / "rm"), ScoringOptions()), conversation(3))
    weight, bias = HEADS[head]
    head_called(tmp_path / "rm", weight, bias)
    after = rewards(hf.open_backend(candidate(tmp_path / "rm"), ScoringOptions()), conversation(3))
    assert after == pytest.approx({key: value + 2 * bool(bias) for key, value in before.items() if value is not None})
    in_memory, on_disk = both(tmp_path)
    assert in_memory == on_disk


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_families(tmp_path: Path, kind: str, dtype: str) -> None:
    tied = {"tie_word_embeddings": True} if kind.startswith("gemma") else {}
    write_model(tmp_path / "rm", kind, seed=1)
    write_model(tmp_path / "sft", kind, seed=2, task="CausalLM", **tied)
    in_memory, on_disk = both(tmp_path, dtype)
    assert in_memory == on_disk


def test_a_head_with_two_outputs_is_not_a_reward(tmp_path: Path) -> None:
    write_model(tmp_path / "rm", "llama", num_labels=2)
    head_called(tmp_path / "rm", "v_head.summary.weight", None)
    with pytest.raises(CandidateError, match="not a reward model"):
        hf.open_backend(candidate(tmp_path / "rm"), ScoringOptions())
