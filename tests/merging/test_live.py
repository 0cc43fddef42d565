"""Merges in memory: the bytes of the folder, at every lambda, in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from merging_models import WORDS, same_bits
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.config import Expert, Recipe
from harness.errors import MergeError
from harness.merging._live import LiveMerge
from harness.merging._plan import plan_merge
from harness.merging._writer import write_merge

Make = Callable[..., Path]


@pytest.fixture
def sweep(make: Make) -> Recipe:
    """Renumbered tokens, a padded vocabulary and tokens of one side only: everything that rows can be."""
    rm = make("rm", seed=1, reward=True, rows=64, added=["[PAD]"], dtype=torch.bfloat16)
    words = [*WORDS[:3], *reversed(WORDS[3:])]
    sft = make("sft", seed=2, reward=False, words=words, added=["<new>"], dtype=torch.bfloat16)
    return Recipe(rm=str(rm), experts=[Expert(model=str(sft))], sweep=[0.0, 0.35, 1.0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_memory_and_disk_hold_the_same_bytes_and_rewards(sweep: Recipe, tmp_path: Path, dtype: torch.dtype) -> None:
    live = LiveMerge.of(sweep, dtype=dtype)
    ids = torch.tensor([[1, 5, 64, 40]])
    for weight in (1.0, 0.35, 0.0):
        out = tmp_path / str(weight)
        write_merge(plan_merge(sweep.at(weight)), out)
        disk = AutoModelForSequenceClassification.from_pretrained(out, dtype=dtype).eval()
        live.set_weight(weight)
        mine = dict(live.model.named_parameters())
        assert mine.keys() == dict(disk.named_parameters()).keys()
        for name, parameter in disk.named_parameters():
            assert same_bits(parameter.data, mine[name].data), (weight, name)
        for name, buffer in disk.named_buffers():
            assert torch.equal(buffer, dict(live.model.named_buffers())[name]), name
        assert torch.equal(live.model(input_ids=ids).logits, disk(input_ids=ids).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "0.35")
    assert live.tokenizer("w3 <new> [PAD]")["input_ids"] == tokenizer("w3 <new> [PAD]")["input_ids"]
    assert live.tokenizer.chat_template == tokenizer.chat_template


def test_coming_back_to_a_lambda_gives_the_same_bytes(sweep: Recipe) -> None:
    live = LiveMerge.of(sweep)
    live.set_weight(0.3)
    before = {name: p.detach().clone() for name, p in live.model.named_parameters()}
    addresses = {name: p.data_ptr() for name, p in live.model.named_parameters()}
    for weight in (0.9, 0.0, 1.0, 0.1, 0.3):
        live.set_weight(weight)
    after = dict(live.model.named_parameters())
    assert all(same_bits(before[name], after[name].data) for name in before)
    assert addresses == {name: p.data_ptr() for name, p in after.items()}  # in place: others may hold the parameters


def test_a_single_recipe_is_merged_at_once(pair: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = Recipe(rm=str(pair[0]), experts=[Expert(model=str(pair[1]), weight=0.2)])
    write_merge(plan_merge(recipe), tmp_path / "out")
    disk = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.bfloat16)
    mine = dict(LiveMerge.of(recipe).model.named_parameters())
    assert all(same_bits(p.data, mine[name].data) for name, p in disk.named_parameters())


def test_nan_in_a_parent_is_told_in_memory_too(pair: tuple[Path, Path]) -> None:
    from merging_models import edit_weights

    edit_weights(pair[1], lambda t: t["model.layers.1.mlp.up_proj.weight"].__setitem__((0, 0), float("nan")))
    recipe = Recipe(rm=str(pair[0]), experts=[Expert(model=str(pair[1]), weight=0.2)])
    with pytest.raises(MergeError, match=r"sft: tensor 'model\.layers\.1\.mlp\.up_proj\.weight' holds NaN"):
        LiveMerge.of(recipe)
