"""Weights in PyTorch's pickle format: read only with consent, and never anything but tensors."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merging_models import edit_json, same_bits, save_model, weights
from safetensors.torch import load_file

from harness._hashing import folder_identity, weights_hash
from harness.candidate import from_recipe
from harness.cli.main import main
from harness.config import Expert, Recipe
from harness.errors import CandidateError
from harness.merging._live import LiveMerge
from harness.merging._plan import plan_merge
from harness.merging._provenance import read_merge_folder
from harness.merging._verify import verify_merge
from harness.merging._writer import write_merge

ALLOWED = {"pickle": "allow"}


def pickled(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda state: state, **how: Any) -> Path:
    """Turn a folder's safetensors files into .bin files of the same tensors, and its index with them."""
    for path in folder.glob("*.safetensors"):
        torch.save(change(dict(load_file(path))), folder / renamed(path.name), **how)
        path.unlink()
    index = folder / "model.safetensors.index.json"
    if index.exists():
        index.rename(folder / "pytorch_model.bin.index.json")
        text = (folder / "pytorch_model.bin.index.json").read_text()
        (folder / "pytorch_model.bin.index.json").write_text(
            text.replace("model-0", "pytorch_model-0").replace(".safetensors", ".bin")
        )
    return folder


def renamed(name: str) -> str:
    return name.replace("model", "pytorch_model").replace(".safetensors", ".bin")


def recipe(pair: tuple[Path, Path], **options: str) -> Recipe:
    return Recipe(rm=str(pair[0]), experts=[Expert(model=str(pair[1]), weight=0.35)], options=dict(options))


@pytest.mark.parametrize("shard", ["5GB", "6KB"])
def test_the_same_merge_as_from_safetensors(tmp_path: Path, shard: str) -> None:
    rm = save_model(tmp_path / "rm", seed=1, reward=True, dtype=torch.bfloat16, shard=shard)
    sft = save_model(tmp_path / "sft", seed=2, reward=False, dtype=torch.bfloat16, shard=shard, added=["<new>"])
    before = write_merge(plan_merge(recipe((rm, sft))), tmp_path / "before")
    identity = folder_identity(rm)
    pickled(rm)
    pickled(sft)
    arguments = ["merge", "--rm", str(rm), "--sft", str(sft), "--lambda", "0.35", "--allow-pickle"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "-o", str(tmp_path / "after")])
    assert stop.value.code == 0
    assert read_merge_folder(tmp_path / "after") == before.id  # the format changes no content
    assert folder_identity(rm, pickle=True) == identity
    assert sorted(p.name for p in (tmp_path / "after").iterdir()) == sorted(p.name for p in before.out.iterdir())
    a, b = weights(before.out), weights(tmp_path / "after")
    assert a.keys() == b.keys()
    assert all(same_bits(a[name], b[name]) for name in a)
    assert verify_merge(tmp_path / "after")["ok"]


def test_in_memory_too(pair: tuple[Path, Path]) -> None:
    plain = from_recipe(recipe(pair))
    before = {name: p.detach().clone() for name, p in LiveMerge.of(recipe(pair)).model.named_parameters()}
    pickled(pair[0])
    pickled(pair[1])
    found = from_recipe(recipe(pair, **ALLOWED))
    assert (found.id, found.name) == (plain.id, plain.name)
    live = LiveMerge.of(found.recipe or recipe(pair))
    assert all(same_bits(before[name], p.data) for name, p in live.model.named_parameters())


def test_tied_and_sliced_tensors_are_found_where_they_are(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Two names for one storage, and tensors inside a larger one."""
    plain = weights(pair[1])

    def share(state: dict[str, Any]) -> dict[str, Any]:
        names = [n for n in state if n.endswith("layernorm.weight")]
        pool = torch.cat([torch.zeros(3, dtype=torch.bfloat16), *(state[n] for n in names)])
        return {**state, **{n: pool[3 + 16 * i : 19 + 16 * i] for i, n in enumerate(names)},
                "lm_head.weight": state["model.embed_tokens.weight"]}  # fmt: skip

    pickled(pair[1], share)
    report = write_merge(plan_merge(recipe(pair, **ALLOWED)), tmp_path / "out")
    rm, merged = weights(pair[0]), weights(report.out)
    for name in merged.keys() - {"score.weight"}:
        assert same_bits(merged[name], torch.lerp(rm[name], plain[name], 0.35)), name


def refusal(folder: Path, pair: tuple[Path, Path]) -> str:
    with pytest.raises(CandidateError) as caught:
        plan_merge(recipe(pair, **ALLOWED))
    sentence = str(caught.value)
    assert sentence.startswith(f"{folder / 'pytorch_model.bin'}: ")
    assert "\n" not in sentence
    return sentence.partition(": ")[2]


def test_without_consent_the_option_is_named(pair: tuple[Path, Path]) -> None:
    pickled(pair[1])
    for look in (lambda: plan_merge(recipe(pair)), lambda: weights_hash(pair[1])):
        with pytest.raises(CandidateError, match="--allow-pickle"):
            look()


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)

    def __init__(self, mark: Path) -> None:
        self.mark = mark


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(pair: tuple[Path, Path], tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "it-ran"
    pickled(pair[1], lambda state: state | {"x": _Evil(mark)}, _use_new_zipfile_serialization=zipped)
    assert "refused" in (said := refusal(pair[1], pair)) or "before 1.6" in said
    assert not mark.exists()
    torch.load(pair[1] / "pytorch_model.bin", weights_only=False)
    assert mark.exists()  # the trap was real


def test_a_bare_pickle_that_runs_code_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pickled(pair[1])
    (pair[1] / "pytorch_model.bin").write_bytes(pickle.dumps(_Evil(tmp_path / "it-ran")))
    refusal(pair[1], pair)
    assert not (tmp_path / "it-ran").exists()


def test_other_contents_are_refused(pair: tuple[Path, Path]) -> None:
    pickled(pair[1], lambda state: {"state_dict": state, "step": 3})
    assert refusal(pair[1], pair).startswith("is not a plain mapping")


def test_strided_tensors_and_old_formats_are_refused(make: Callable[..., Path], pair: tuple[Path, Path]) -> None:
    pickled(pair[1], lambda state: state | {"lm_head.weight": state["lm_head.weight"].t().contiguous().t()})
    assert "'lm_head.weight' is not stored row by row" in refusal(pair[1], pair)
    old = make("old", seed=2, reward=False, dtype=torch.bfloat16)
    pickled(old, _use_new_zipfile_serialization=False)
    assert "before 1.6" in refusal(old, (pair[0], old))


@pytest.mark.parametrize("length", [0, 100, 9000])
def test_a_truncated_file(pair: tuple[Path, Path], length: int) -> None:
    pickled(pair[1])
    os.truncate(pair[1] / "pytorch_model.bin", length)
    assert "damaged" in refusal(pair[1], pair)


def test_an_index_that_names_a_missing_shard(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    sft = pickled(save_model(tmp_path / "many", seed=2, reward=False, dtype=torch.bfloat16, shard="6KB"))
    shard = sorted(sft.glob("*.bin"))[1]
    shard.unlink()
    with pytest.raises(CandidateError, match=f"names the shard '{shard.name}', which is not in the folder"):
        plan_merge(recipe((pair[0], sft), **ALLOWED))


def test_a_nan_in_a_pickle_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    def spoil(state: dict[str, Any]) -> dict[str, Any]:
        state["model.norm.weight"][3] = float("nan")
        return state

    pickled(pair[0], spoil)
    with pytest.raises(ValueError, match=r"tensor 'model\.norm\.weight' holds NaN"):
        write_merge(plan_merge(recipe(pair, **ALLOWED)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_quantised_config_is_refused_before_the_weights(pair: tuple[Path, Path]) -> None:
    pickled(pair[1])
    edit_json(pair[1] / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(CandidateError, match="quantised"):
        plan_merge(recipe(pair, **ALLOWED))
