"""LoRA adapters as parents: merged into their base where the user says so, by peft itself."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merging_models import WORDS, same_bits, save_tokenizer, weights
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from harness.candidate import from_recipe, resolve
from harness.cli.main import main
from harness.config import Expert, Recipe
from harness.errors import CandidateError, MergeError
from harness.merging._live import LiveMerge
from harness.merging._model import load_reward_model
from harness.merging._plan import plan_merge
from harness.merging._provenance import read_merge_folder
from harness.merging._verify import verify_merge
from harness.merging._writer import write_merge

Make = Callable[..., Path]
MERGE = {"adapters": "merge"}
IDS = torch.tensor([[1, 4, 5, 9]])


def save_adapter(folder: Path, base: Path, *, reward: bool, named: str | None = None, **settings: Any) -> Path:
    """A LoRA adapter with random weights on `base`; `named` is what its configuration calls the base."""
    peft = pytest.importorskip("peft")
    kind = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    model = kind.from_pretrained(base, **({"num_labels": 1} if reward else {}))
    task = "SEQ_CLS" if reward else "CAUSAL_LM"
    wanted = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"], "task_type": task}
    with warnings.catch_warnings():  # peft asks transformers for names that go away in its next version
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(model, peft.LoraConfig(**(wanted | settings)))
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape) * 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped.save_pretrained(folder)
    if named is not None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": named}))
    return folder


def by_hand(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """The formula, W + (alpha / r) B A in float32, rounded once to the base's dtype; whole modules replaced."""
    state, lora = weights(base), load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    for name, a in lora.items():
        plain = name.removeprefix("base_model.model.")
        if ".lora_A." in name:
            key = plain.replace(".lora_A.weight", ".weight")
            delta = lora[name.replace("lora_A", "lora_B")].double() @ a.double() * config["lora_alpha"] / config["r"]
            state[key] = (state[key].double() + delta).to(state[key].dtype)
        elif ".lora_B." not in name:
            state[plain] = a.to(next(iter(state.values())).dtype)
    return state


def recipe(rm: Path, sft: Path, weight: float = 1.0, **options: str) -> Recipe:
    return Recipe(rm=str(rm), experts=[Expert(model=str(sft), weight=weight)], options=dict(options))


def test_an_expert_that_is_an_adapter(make: Make, tmp_path: Path) -> None:
    """At lambda 1 the body is the expert's: what peft makes is seen bit by bit, up to one rounding of the product."""
    rm = make("rm", seed=1, reward=True, dtype=torch.bfloat16)
    base = make("base", seed=2, reward=False, dtype=torch.bfloat16)
    sft = save_adapter(tmp_path / "sft", base, reward=False)
    arguments = ["merge", "--rm", str(rm), "--sft", str(sft), "--lambda", "1", "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--merge-adapter"])
    assert stop.value.code == 0
    merged, expected = weights(tmp_path / "out"), by_hand(base, sft)
    for name in merged.keys() - {"score.weight"}:
        torch.testing.assert_close(merged[name].float(), expected[name].float(), rtol=2**-8, atol=1e-6)
        if not name.endswith(("q_proj.weight", "v_proj.weight", "up_proj.weight")):
            assert same_bits(merged[name], expected[name]), name
    entry = json.loads((tmp_path / "out" / "merge.json").read_text())["parents"]["expert 0"]
    assert entry["name"] == str(sft)
    assert entry["adapter"]["base"] == str(base)
    assert set(entry["adapter"]["versions"]) >= {"peft", "transformers", "task"}
    assert verify_merge(tmp_path / "out")["ok"]
    memory = from_recipe(recipe(rm, sft, **MERGE))
    assert memory.id == read_merge_folder(tmp_path / "out")
    live = LiveMerge.of(memory.recipe or recipe(rm, sft), dtype=torch.float32)
    assert torch.equal(live.model(IDS).logits, load_reward_model(tmp_path / "out", dtype=torch.float32)[0](IDS).logits)


def test_a_reward_model_that_is_an_adapter_on_a_language_model(make: Make, tmp_path: Path) -> None:
    """The usual case: the head was trained whole and lies in the adapter."""
    base = make("base", seed=1, reward=False, dtype=torch.bfloat16)
    rm = save_adapter(tmp_path / "rm", base, reward=True)
    sft = make("sft", seed=2, reward=False, dtype=torch.bfloat16)
    write_merge(plan_merge(recipe(rm, sft, 0.0, **MERGE)), tmp_path / "out")
    merged, expected = weights(tmp_path / "out"), by_hand(base, rm)
    head = load_file(rm / "adapter_model.safetensors")["base_model.model.score.weight"]
    assert same_bits(merged["score.weight"], head.to(torch.bfloat16))
    for name in merged.keys() - {"score.weight"}:
        torch.testing.assert_close(merged[name].float(), expected[name].float(), rtol=2**-8, atol=1e-6)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    loaded, report = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())
    assert loaded.config.num_labels == 1


def test_a_head_that_nobody_trained_is_refused(make: Make, tmp_path: Path) -> None:
    base, sft = make("base", seed=1, reward=False), make("sft", seed=2, reward=False)
    rm = save_adapter(tmp_path / "rm", base, reward=False)
    config = json.loads((rm / "adapter_config.json").read_text())
    (rm / "adapter_config.json").write_text(json.dumps(config | {"task_type": None}))
    with pytest.raises(CandidateError, match=r"neither the adapter nor its base has score\.weight"):
        plan_merge(recipe(rm, sft, **MERGE))
    assert list((tmp_path).glob("**/.*merging*")) == []


def test_the_adapters_tokens_come_along(make: Make, tmp_path: Path) -> None:
    """A tokenizer with a new token, and embeddings trained whole."""
    rm, base = make("rm", seed=1, reward=True), make("base", seed=2, reward=False)
    larger = AutoModelForCausalLM.from_pretrained(base)
    larger.resize_token_embeddings(41)
    larger.save_pretrained(tmp_path / "larger")
    sft = save_adapter(tmp_path / "sft", tmp_path / "larger", reward=False, named=str(base),
                       modules_to_save=["embed_tokens", "lm_head"])  # fmt: skip
    save_tokenizer(sft, WORDS, ["<new>"])
    plan = plan_merge(recipe(rm, sft, **MERGE))
    assert plan.alignment.counts == {"shared": 40, "rm_only": 0, "expert_only": 1}
    write_merge(plan, tmp_path / "out")
    rows = load_file(sft / "adapter_model.safetensors")["base_model.model.model.embed_tokens.weight"]
    assert same_bits(weights(tmp_path / "out")["model.embed_tokens.weight"], rows)


def test_merged_once_and_anew_where_something_changed(make: Make, tmp_path: Path) -> None:
    rm, base = make("rm", seed=1, reward=True), make("base", seed=2, reward=False)
    sft = save_adapter(tmp_path / "sft", base, reward=False)
    first = plan_merge(recipe(rm, sft, **MERGE)).experts[0].checkpoint.folder
    when = first.stat().st_mtime_ns
    assert plan_merge(recipe(rm, sft, **MERGE)).experts[0].checkpoint.folder == first
    assert first.stat().st_mtime_ns == when
    config = json.loads((sft / "adapter_config.json").read_text())
    (sft / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 16}))
    assert plan_merge(recipe(rm, sft, **MERGE)).experts[0].checkpoint.folder != first


def test_an_adapter_alone_is_no_candidate(make: Make, tmp_path: Path) -> None:
    rm = save_adapter(tmp_path / "rm", make("base", seed=1, reward=False), reward=True)
    with pytest.raises(CandidateError, match="is a LoRA adapter, not a model"):
        resolve(str(rm))


def test_what_cannot_be_merged_is_said(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rm, base = make("rm", seed=1, reward=True), make("base", seed=2, reward=False)
    sft = save_adapter(tmp_path / "sft", base, reward=False, named="./no-such-base")
    wanted = recipe(rm, sft, **MERGE)
    with pytest.raises(CandidateError, match=r"its base cannot be had: \./no-such-base: there is no such folder"):
        plan_merge(wanted)
    with pytest.raises(CandidateError, match=r"is a LoRA adapter.*--merge-adapter"):
        plan_merge(recipe(rm, sft))
    config = json.loads((sft / "adapter_config.json").read_text())
    other = make("other", seed=3, reward=False, hidden_size=32)
    (sft / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(other)}))
    with pytest.raises(CandidateError, match="peft cannot merge this adapter into") as caught:
        plan_merge(wanted)
    assert "\n" not in str(caught.value)
    (sft / "adapter_config.json").write_text(json.dumps(config | {"task_type": "SEQ_2_SEQ_LM"}))
    with pytest.raises(CandidateError, match="is an adapter for SEQ_2_SEQ_LM"):
        plan_merge(wanted)
    (sft / "adapter_model.safetensors").unlink()
    (sft / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(CandidateError, match=r"no adapter_model\.safetensors"):
        plan_merge(wanted)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MergeError, match=r"needs the package peft, which is not installed: pip install '\.\[peft\]'"):
        plan_merge(wanted)
