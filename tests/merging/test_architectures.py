"""Names, heads and model families: what is merged must not depend on how a folder spells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from merging_models import WORDS, edit_weights, same_bits, save_model, save_tokenizer, weights

from harness.config import Expert, Recipe
from harness.errors import CandidateError, MergeError
from harness.merging._checkpoint import open_checkpoint
from harness.merging._live import LiveMerge
from harness.merging._model import load_reward_model
from harness.merging._names import HEADS, classify
from harness.merging._plan import plan_merge
from harness.merging._writer import write_merge

SMALL = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 40,
    "pad_token_id": 2, "max_position_embeddings": 64,
}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 4}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 40, "pad_token_id": 2, "n_positions": 64}
FAMILIES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", "Qwen2ForSequenceClassification", "Qwen2ForCausalLM", GROUPED),
    "qwen2 tied": (
        "Qwen2Config", "Qwen2ForSequenceClassification", "Qwen2ForCausalLM", {**GROUPED, "tie_word_embeddings": True},
    ),
    "qwen3": ("Qwen3Config", "Qwen3ForSequenceClassification", "Qwen3ForCausalLM", GROUPED),
    "gemma": ("GemmaConfig", "GemmaForSequenceClassification", "GemmaForCausalLM", GROUPED),
    "gemma2": ("Gemma2Config", "Gemma2ForSequenceClassification", "Gemma2ForCausalLM", GROUPED),
    "gemma3": ("Gemma3TextConfig", "Gemma3TextForSequenceClassification", "Gemma3ForCausalLM", GROUPED),
    "phi3": ("Phi3Config", "Phi3ForSequenceClassification", "Phi3ForCausalLM", GROUPED),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForSequenceClassification", "GPTNeoXForCausalLM", SMALL),
    "gpt2": ("GPT2Config", "GPT2ForSequenceClassification", "GPT2LMHeadModel", GPT2),
}  # fmt: skip
IDS = torch.tensor([[1, 4, 5, 9]])


def single(rm: Path, sft: Path, weight: float = 0.35, **more: Any) -> Recipe:
    return Recipe(rm=str(rm), experts=[Expert(model=str(sft), weight=weight)], **more)


@pytest.mark.parametrize("family", FAMILIES)
def test_families(tmp_path: Path, family: str) -> None:
    config, classifier, causal, settings = FAMILIES[family]
    torch.manual_seed(1)
    for name, kind, more in (("rm", classifier, {"num_labels": 1}), ("sft", causal, {})):
        made = getattr(transformers, config)(**settings, **more)
        getattr(transformers, kind)(made).save_pretrained(tmp_path / name)
        save_tokenizer(tmp_path / name, WORDS)
    wanted = single(tmp_path / "rm", tmp_path / "sft")
    write_merge(plan_merge(wanted), tmp_path / "out")
    disk, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report.values())
    live = LiveMerge.of(wanted)
    again, _ = load_reward_model(tmp_path / "out")
    assert torch.equal(live.model(IDS).logits, again(IDS).logits)
    torch.testing.assert_close(disk(IDS).logits, again(IDS).logits)
    for name, parameter in disk.named_parameters():
        assert same_bits(parameter.data, dict(live.model.named_parameters())[name].data), name
    a, b, merged = (classify(open_checkpoint(str(tmp_path / n))) for n in ("rm", "sft", "out"))
    assert a == merged
    x, y, z = (weights(tmp_path / n) for n in ("rm", "sft", "out"))
    for key in a.body:
        assert same_bits(z[a.body[key]], torch.lerp(x[a.body[key]], y[b.body[key]], 0.35)), key


def rename(folder: Path, old: str, new: str) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            if name.startswith(old):
                tensors[new + name[len(old) :]] = tensors.pop(name)

    edit_weights(folder, change)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("bias", [False, True])
def test_heads_by_other_names(pair: tuple[Path, Path], tmp_path: Path, head: str, bias: bool) -> None:
    rm, sft = pair
    before = load_reward_model(rm, dtype=torch.float32)[0](IDS).logits
    rename(rm, "score.", head + ".")
    if bias:
        edit_weights(rm, lambda t: t.update({f"{head}.bias": torch.tensor([2.0], dtype=torch.bfloat16)}))
    torch.testing.assert_close(load_reward_model(rm, dtype=torch.float32)[0](IDS).logits, before + 2 * bias)
    write_merge(plan_merge(single(rm, sft)), tmp_path / "out")
    a, merged = weights(rm), weights(tmp_path / "out")
    assert merged.keys() == a.keys()
    assert all(same_bits(merged[name], a[name]) for name in a if name.startswith(head))
    live = LiveMerge.of(single(rm, sft), dtype=torch.float32).model
    assert torch.equal(live(IDS).logits, load_reward_model(tmp_path / "out", dtype=torch.float32)[0](IDS).logits)


@pytest.mark.parametrize("prefix", ["", "module.model.", "base_model.model.model.", "pretrained_model.model."])
@pytest.mark.parametrize("which", [0, 1])
def test_prefixes_are_only_spelling(pair: tuple[Path, Path], tmp_path: Path, prefix: str, which: int) -> None:
    plain = write_merge(plan_merge(single(*pair)), tmp_path / "plain")
    rename(pair[which], "model.", prefix)
    renamed = write_merge(plan_merge(single(*pair)), tmp_path / "renamed")
    a, b = weights(plain.out), weights(renamed.out)
    for name, value in b.items():
        moved = which == 0 and name != "score.weight"
        assert same_bits(value, a["model." + name[len(prefix) :] if moved else name]), name


def test_two_heads_are_ambiguous(pair: tuple[Path, Path]) -> None:
    edit_weights(pair[0], lambda t: t.update({"v_head.summary.weight": t["score.weight"].clone()}))
    with pytest.raises(CandidateError, match=r"2 reward heads \(score, v_head\.summary\)|2 reward heads"):
        plan_merge(single(*pair))


def test_an_unknown_head_is_listed(pair: tuple[Path, Path]) -> None:
    rename(pair[0], "score.", "judge.")
    with pytest.raises(CandidateError, match=r"not a reward model.*judge\.weight"):
        plan_merge(single(*pair))


def test_tensors_of_unknown_purpose_are_listed(pair: tuple[Path, Path]) -> None:
    edit_weights(pair[0], lambda t: t.update({"extra.weight": torch.zeros(2)}))
    with pytest.raises(CandidateError, match=r"unknown purpose: extra\.weight"):
        plan_merge(single(*pair))


def test_old_rotary_buffers_do_not_matter(pair: tuple[Path, Path], tmp_path: Path) -> None:
    edit_weights(pair[1], lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}))
    write_merge(plan_merge(single(*pair)), tmp_path / "out")
    assert weights(tmp_path / "out").keys() == weights(pair[0]).keys()


def test_a_reward_model_that_kept_its_language_head(tmp_path: Path) -> None:
    """A value-head model: body and language head are merged by token, the value head is kept."""
    rm = save_model(tmp_path / "rm", seed=1, reward=False)
    edit_weights(rm, lambda t: t.update({"v_head.summary.weight": torch.ones(1, 16)}))
    sft = save_model(tmp_path / "sft", seed=2, reward=False, tie_word_embeddings=True, added=["<new>"])
    write_merge(plan_merge(single(rm, sft)), tmp_path / "out")
    a, b, merged = weights(rm), weights(sft), weights(tmp_path / "out")
    theirs = b["model.embed_tokens.weight"]  # tied: the expert's language head is its embedding
    assert same_bits(merged["lm_head.weight"][:40], torch.lerp(a["lm_head.weight"], theirs[:40], 0.35))
    assert same_bits(merged["lm_head.weight"][40], theirs[40])
    assert same_bits(merged["v_head.summary.weight"], a["v_head.summary.weight"])


def test_an_unknown_model_class_is_said(pair: tuple[Path, Path]) -> None:
    from merging_models import edit_json

    for folder in pair:
        edit_json(folder / "config.json", model_type="no-such-thing")
    with pytest.raises((CandidateError, MergeError), match="transformers has no reward model of this kind"):
        LiveMerge.of(single(*pair, options={"config": "rm"}))
