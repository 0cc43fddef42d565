"""Other people's programs on the same models: mergekit's merges, and transformers 4.57 loading ours.

Each lives in an environment of its own, named by HARNESS_MERGEKIT (its mergekit-yaml) and HARNESS_TRANSFORMERS_457
(its python); without them these tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from merging_models import WORDS, edit_weights, save_model, weights
from safetensors.torch import save_file

from harness.config import Expert, Recipe
from harness.merging._model import load_reward_model
from harness.merging._plan import plan_merge
from harness.merging._sparse import uniform
from harness.merging._writer import write_merge

LOAD = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
for p in model.parameters():
    p.data = p.data.clone()
ids = AutoTokenizer.from_pretrained(sys.argv[1])("w1 <new> [PAD] w5")["input_ids"]
print(json.dumps([ids, model(torch.tensor([ids])).logits.item()]))
"""


@pytest.fixture
def mergekit() -> str:
    program = os.environ.get("HARNESS_MERGEKIT") or shutil.which("mergekit-yaml")
    if not program:
        pytest.skip("mergekit is not installed (HARNESS_MERGEKIT=PATH of mergekit-yaml)")
    return program


@pytest.mark.parametrize(
    ("method", "theirs", "options"),
    [
        ("linear", {}, {}),
        ("slerp", {"t": 0.3}, {}),
        ("task_arithmetic", {}, {}),
        ("ties", {"density": 1.0}, {"density": 1.0}),
        ("ties", {"density": 0.2}, {"density": 0.2}),
        ("dare_linear", {"density": 1.0}, {"density": 1.0}),
        ("dare_ties", {"density": 1.0}, {"density": 1.0}),
    ],
)
def test_mergekit_agrees(
    tmp_path: Path, mergekit: str, method: str, theirs: dict[str, float], options: dict[str, float]
) -> None:
    """float32 throughout; mergekit wants classifiers everywhere, so each model gets a classifier copy for it."""
    for i, name in enumerate(("rm", "sft", "base")):
        save_model(tmp_path / name, seed=i, reward=True, kind="mistral")
    share = 1 - 0.3 if method in ("linear", "ties") else 1.0
    own = {"density": 1.0} if "density" in theirs else {}
    models: list[dict[str, Any]] = [
        {"model": str(tmp_path / "rm"), "parameters": {"weight": share, **own}},
        {"model": str(tmp_path / "sft"), "parameters": {"weight": 0.3, **theirs}},
    ]
    recipe: dict[str, Any] = {"merge_method": method, "models": models, "dtype": "float32"}
    if method == "slerp":
        recipe = {**recipe, "base_model": str(tmp_path / "rm"), "parameters": theirs}
        recipe["models"] = [{"model": str(tmp_path / name)} for name in ("rm", "sft")]
    elif method != "linear":
        recipe["base_model"] = str(tmp_path / "base")
    (tmp_path / "m.yaml").write_text(json.dumps(recipe))
    done = subprocess.run(
        [mergekit, str(tmp_path / "m.yaml"), str(tmp_path / "theirs")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = Recipe(
        rm=str(tmp_path / "rm"), experts=[Expert(model=str(tmp_path / "sft"), weight=0.3)], method=method,
        base=None if method in ("linear", "slerp") else str(tmp_path / "base"), options=dict(options),
    )  # fmt: skip
    write_merge(plan_merge(wanted), tmp_path / "ours")
    a, b = weights(tmp_path / "ours"), weights(tmp_path / "theirs")
    for name in a:
        if name != "score.weight":  # heads are never merged here
            # a few float32 roundings of numbers about 1 in another order
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


# Runs mergekit with the masks of a file in place of its own draws, found by the task vector that they belong to, and
# with the paper's rescaling (mergekit's own keeps the L1 norm, the paper divides by the density).
SAME_MASKS = """
import hashlib, sys
from safetensors.torch import load_file
import mergekit.sparsify
from mergekit.scripts.run_yaml import main
masks = load_file(sys.argv.pop(1))
def given(tensor, density, rescale_norm=None):
    key = hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
    return tensor * masks[key] / density if key in masks else tensor
mergekit.sparsify.bernoulli = given
main()
"""


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_mergekit_agrees_on_dare_given_the_masks(tmp_path: Path, mergekit: str, method: str) -> None:
    density = 0.4
    for i, name in enumerate(("rm", "sft", "base")):
        save_model(tmp_path / name, seed=i, reward=True, kind="mistral")
    sft, base = weights(tmp_path / "sft"), weights(tmp_path / "base")
    masks = {}
    for name, value in sft.items():
        delta = value - base[name]
        draws = uniform(torch.arange(delta.numel()), f"0/{name.removeprefix('model.')}/0").view(delta.shape)
        masks[hashlib.sha256(delta.contiguous().numpy().tobytes()).hexdigest()] = (draws < density).float()
    save_file(masks, tmp_path / "masks.safetensors")
    models = [{"model": str(tmp_path / "rm"), "parameters": {"weight": 1.0, "density": 1.0}},
              {"model": str(tmp_path / "sft"), "parameters": {"weight": 0.3, "density": density}}]  # fmt: skip
    recipe = {"merge_method": method, "models": models, "base_model": str(tmp_path / "base"), "dtype": "float32",
              "parameters": {"normalize": False}}  # fmt: skip
    (tmp_path / "m.yaml").write_text(json.dumps(recipe))
    command = [str(Path(mergekit).parent / "python"), "-c", SAME_MASKS, str(tmp_path / "masks.safetensors"),
               str(tmp_path / "m.yaml"), str(tmp_path / "theirs")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = Recipe(
        rm=str(tmp_path / "rm"), experts=[Expert(model=str(tmp_path / "sft"), weight=0.3)], method=method,
        base=str(tmp_path / "base"), options={"density": density},
    )  # fmt: skip
    write_merge(plan_merge(wanted), tmp_path / "ours")
    a, b = weights(tmp_path / "ours"), weights(tmp_path / "theirs")
    for name in a.keys() - {"score.weight"}:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_transformers_4_57_loads_and_scores_alike(tmp_path: Path) -> None:
    """Parents written by transformers 5, with a token appended behind padding rows."""
    python = os.environ.get("HARNESS_TRANSFORMERS_457")
    if not python:
        pytest.skip("no transformers 4.57 here (HARNESS_TRANSFORMERS_457=PATH of its python)")
    rm = save_model(tmp_path / "rm", seed=1, reward=True, rows=64, added=["[PAD]"], dtype=torch.bfloat16)
    sft = save_model(tmp_path / "sft", seed=2, reward=False, words=[*WORDS[:3], *WORDS[:2:-1]], added=["<new>"])
    recipe = Recipe(rm=str(rm), experts=[Expert(model=str(sft), weight=0.35)])
    write_merge(plan_merge(recipe), tmp_path / "out")
    done = subprocess.run([python, "-c", LOAD, str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ids, reward = json.loads(done.stdout.strip().splitlines()[-1])
    model, tokenizer = load_reward_model(tmp_path / "out", dtype=torch.float32)
    assert tokenizer("w1 <new> [PAD] w5")["input_ids"] == ids == [4, 64, 40, 8]
    assert model(torch.tensor([ids])).logits.item() == pytest.approx(reward, abs=1e-6)


def test_defects_of_the_reference_implementation_are_not_ours(tmp_path: Path) -> None:
    """Trained rows of RM-only tokens stay; a tensor that does not match fails instead of being skipped."""
    rm = save_model(tmp_path / "rm", seed=1, reward=True, added=["[PAD]"])
    sft = save_model(tmp_path / "sft", seed=2, reward=False)
    recipe = Recipe(rm=str(rm), experts=[Expert(model=str(sft), weight=0.35)])
    write_merge(plan_merge(recipe), tmp_path / "out")
    rows = [weights(tmp_path / name)["model.embed_tokens.weight"] for name in ("rm", "out")]
    assert torch.equal(rows[0][40], rows[1][40])
    edit_weights(sft, lambda t: t.update({"model.norm.scale": t.pop("model.norm.weight")}))
    with pytest.raises(ValueError, match=r"norm\.weight \(only in"):
        plan_merge(recipe)
