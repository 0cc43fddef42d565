"""Every way to hand `harness merge` something wrong: one sentence, exit code 2, and nothing written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merging_models import edit_json, edit_weights, save_model

from harness.cli.main import main

Make = Callable[..., Path]
Refused = Callable[..., str]


def options(pair: tuple[Path, Path], weight: object = 0.35) -> list[object]:
    return ["--rm", pair[0], "--sft", pair[1], "--lambda", weight]


def test_missing_folder(pair: tuple[Path, Path], refused: Refused) -> None:
    assert "nowhere: there is no such folder" in refused("--rm", "./nowhere", "--sft", pair[1], "--lambda", 0.5)


def test_a_hub_id_without_the_hub(pair: tuple[Path, Path], refused: Refused) -> None:
    said = refused("--rm", "someone/no-such-model", "--sft", pair[1], "--lambda", 0.5)
    assert "there is no such folder, and it cannot be had from the hub" in said


def test_a_file_instead_of_a_folder(pair: tuple[Path, Path], refused: Refused) -> None:
    said = refused("--rm", pair[0] / "config.json", "--sft", pair[1], "--lambda", 0.5)
    assert "is a file, not a model folder" in said


def test_a_causal_model_as_reward_model(pair: tuple[Path, Path], refused: Refused) -> None:
    said = refused("--rm", pair[1], "--sft", pair[1], "--lambda", 0.5)
    assert "is not a reward model" in said
    assert "lm_head.weight" in said


def test_a_classifier_with_two_labels(make: Make, pair: tuple[Path, Path], refused: Refused) -> None:
    two = make("two", seed=3, reward=True, num_labels=2)
    assert "shape [2, 16]" in refused("--rm", two, "--sft", pair[1], "--lambda", 0.5)


def test_two_architectures(make: Make, pair: tuple[Path, Path], refused: Refused) -> None:
    other = make("mistral", seed=3, reward=False, kind="mistral")
    said = refused("--rm", pair[0], "--sft", other, "--lambda", 0.5)
    assert "is a llama model" in said
    assert "is a mistral model" in said


def test_other_shapes_are_listed(make: Make, pair: tuple[Path, Path], refused: Refused) -> None:
    wide = make("wide", seed=3, reward=False, intermediate_size=32)
    said = refused("--rm", pair[0], "--sft", wide, "--lambda", 0.5)
    assert "layers.0.mlp.gate_proj.weight [24, 16] against [32, 16]" in said


def test_another_number_of_layers_lists_the_tensors(make: Make, pair: tuple[Path, Path], refused: Refused) -> None:
    deep = make("deep", seed=3, reward=False, num_hidden_layers=4)
    said = refused("--rm", pair[0], "--sft", deep, "--lambda", 0.5)
    assert "layers.3.input_layernorm.weight (only in" in said


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("rope_parameters", {"rope_theta": 5e5, "rope_type": "default"}, "rope"),
        ("rms_norm_eps", 1e-3, "rms_norm_eps is 1e-06 against 0.001"),
        ("hidden_act", "gelu", "hidden_act is silu against gelu"),
        ("num_attention_heads", 8, "num_attention_heads is 4 against 8"),
    ],
)
def test_equal_shapes_with_another_meaning(
    pair: tuple[Path, Path], refused: Refused, tmp_path: Path, field: str, value: Any, shown: str
) -> None:
    edit_json(pair[1] / "config.json", **{field: value})
    assert shown in refused(*options(pair))
    recipe = {"rm": str(pair[0]), "experts": [{"model": str(pair[1]), "weight": 0.5}], "options": {"config": "rm"}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    with pytest.raises(SystemExit) as stop:
        main(["merge", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "overridden")])
    assert stop.value.code == 0


def test_truncated_weights(pair: tuple[Path, Path], refused: Refused) -> None:
    path = pair[1] / "model.safetensors"
    os.truncate(path, path.stat().st_size - 100)
    assert "is truncated: its header promises" in refused(*options(pair))


@pytest.mark.parametrize("length", [0, 5, 300])
def test_weights_cut_inside_the_header(pair: tuple[Path, Path], refused: Refused, length: int) -> None:
    os.truncate(pair[0] / "model.safetensors", length)
    assert "is not a safetensors file, or is truncated" in refused(*options(pair))


@pytest.mark.parametrize("at", [8, 20, 60])
def test_a_corrupt_header(pair: tuple[Path, Path], refused: Refused, at: int) -> None:
    path = pair[0] / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[at : at + 4] = b"\xff}{\x00"
    path.write_bytes(raw)
    assert "damaged" in refused(*options(pair))


def test_offsets_that_overlap(pair: tuple[Path, Path], refused: Refused) -> None:
    path = pair[0] / "model.safetensors"
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    names = sorted(n for n in header if n.endswith("up_proj.weight"))
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    path.write_bytes(raw[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(size) + raw[8 + size :])
    assert "overlaps or leaves a gap" in refused(*options(pair))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_names_the_model_and_the_tensor(
    pair: tuple[Path, Path], refused: Refused, which: int, value: float
) -> None:
    edit_weights(pair[which], lambda t: t["model.layers.2.self_attn.k_proj.weight"].__setitem__((3, 2), value))
    said = refused(*options(pair))
    assert f"{pair[which]}: tensor 'model.layers.2.self_attn.k_proj.weight' holds NaN or infinity" in said


@pytest.mark.parametrize("name", ["score.weight", "model.embed_tokens.weight"])
def test_nan_in_head_or_embedding(pair: tuple[Path, Path], refused: Refused, name: str) -> None:
    edit_weights(pair[0], lambda t: t[name].__setitem__((0, 0), float("nan")))
    assert f"tensor '{name}' holds NaN" in refused(*options(pair))


def test_an_index_that_names_a_missing_shard(tmp_path: Path, pair: tuple[Path, Path], refused: Refused) -> None:
    rm = save_model(tmp_path / "sharded", seed=1, reward=True, shard="6KB")
    shard = sorted(rm.glob("*.safetensors"))[1]
    shard.unlink()
    assert f"names the shard '{shard.name}', which is not in the folder" in refused(
        "--rm", rm, "--sft", pair[1], "--lambda", 0.5
    )


def test_an_index_that_names_a_missing_tensor(tmp_path: Path, pair: tuple[Path, Path], refused: Refused) -> None:
    rm = save_model(tmp_path / "sharded", seed=1, reward=True, shard="6KB")
    index = json.loads((rm / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.extra.weight"] = next(iter(index["weight_map"].values()))
    (rm / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "tensor 'model.extra.weight' is not in" in refused("--rm", rm, "--sft", pair[1], "--lambda", 0.5)


def test_missing_and_extra_tensors_are_listed(pair: tuple[Path, Path], refused: Refused) -> None:
    edit_weights(pair[1], lambda t: t.pop("model.layers.0.mlp.up_proj.weight"))
    edit_weights(pair[1], lambda t: t.update({"model.layers.0.mlp.odd.weight": torch.zeros(2)}))
    said = refused(*options(pair))
    assert "layers.0.mlp.up_proj.weight (only in" in said
    assert "layers.0.mlp.odd.weight (only in" in said


def test_a_lora_adapter(pair: tuple[Path, Path], refused: Refused) -> None:
    (pair[1] / "adapter_config.json").write_text("{}")
    assert "is a LoRA adapter" in refused(*options(pair))


def test_a_quantised_model(pair: tuple[Path, Path], refused: Refused) -> None:
    edit_json(pair[1] / "config.json", quantization_config={"quant_method": "gptq"})
    assert "is quantised (gptq)" in refused(*options(pair))


def test_a_tensor_of_integers(pair: tuple[Path, Path], refused: Refused) -> None:
    edit_weights(pair[1], lambda t: t.update({"model.norm.weight": t["model.norm.weight"].to(torch.int8)}))
    assert "tensor 'model.norm.weight' is I8" in refused(*options(pair))


def test_pickled_weights(pair: tuple[Path, Path], refused: Refused) -> None:
    (pair[1] / "model.safetensors").rename(pair[1] / "pytorch_model.bin")
    assert "pickle format (.bin) only" in refused(*options(pair))


def test_no_weights_and_no_config(tmp_path: Path, pair: tuple[Path, Path], refused: Refused) -> None:
    (pair[1] / "model.safetensors").unlink()
    assert "has no weights" in refused(*options(pair))
    (tmp_path / "empty").mkdir()
    assert "config.json is missing" in refused("--rm", tmp_path / "empty", "--sft", pair[1], "--lambda", 0.5)


def test_no_tokenizer(pair: tuple[Path, Path], refused: Refused) -> None:
    for path in pair[1].glob("tokenizer*"):
        path.unlink()
    assert "has no tokenizer" in refused(*options(pair))


@pytest.mark.parametrize("weight", ["-0.1", "1.01", "nan", "inf", "much", ""])
def test_a_lambda_that_is_none(pair: tuple[Path, Path], refused: Refused, weight: str) -> None:
    assert "lambda" in refused(*options(pair, weight))


@pytest.mark.parametrize("weight", ["0.1,0.2", "[0.1, 0.2]", "0:1:0.1"])
def test_a_list_of_lambdas_is_never_guessed(pair: tuple[Path, Path], refused: Refused, weight: str) -> None:
    said = refused(*options(pair, weight))
    assert "sweep:" in said
    assert "layers:" in said


def test_a_list_of_lambdas_in_a_recipe(pair: tuple[Path, Path], refused: Refused, tmp_path: Path) -> None:
    recipe = {"rm": str(pair[0]), "experts": [{"model": str(pair[1]), "weight": [0.1, 0.2]}]}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    said = refused(tmp_path / "r.yaml")
    assert "experts[0].weight" in said
    assert "sweep" in said


def test_a_sweep_cannot_be_one_folder(pair: tuple[Path, Path], refused: Refused, tmp_path: Path) -> None:
    recipe = {"rm": str(pair[0]), "experts": [{"model": str(pair[1])}], "sweep": "0:1:0.5"}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert "sweeps 3 lambdas" in refused(tmp_path / "r.yaml")


def test_an_unknown_method_and_an_unknown_option(pair: tuple[Path, Path], refused: Refused, tmp_path: Path) -> None:
    assert "did you mean 'linear'?" in refused(*options(pair), "--method", "liner")
    recipe = {"rm": str(pair[0]), "experts": [{"model": str(pair[1]), "weight": 0.1}], "options": {"dens": 1}}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert "options.dens" in refused(tmp_path / "r.yaml")


def test_output_that_exists_or_is_an_input(pair: tuple[Path, Path], refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert "exists already" in refused(*options(pair), out=tmp_path / "there")
    assert "the output lies in the input" in refused(*options(pair), out=pair[0])
    assert "the output lies in the input" in refused(*options(pair), out=pair[1] / "inside")


def test_no_output_and_no_models(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (([*options(pair)], "-o FOLDER"), (["-o", "x"], "--rm, --sft, --lambda missing")):
        with pytest.raises(SystemExit) as stop:
            main(["merge", *map(str, arguments)])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """mount(options) -> a real tmpfs with those options; skipped where mounting is not allowed."""
    mounted: list[Path] = []

    def mount(settings: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        tool = shutil.which("mount")
        if os.geteuid() != 0 or tool is None:
            pytest.skip("mounting a tmpfs needs root")
        done = subprocess.run([tool, "-t", "tmpfs", "-o", settings, "none", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip(f"mounting a tmpfs failed: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("size", ["4k", "12k", "20k", "28k", "32k"])
def test_a_full_disk(pair: tuple[Path, Path], refused: Refused, small_disk: Any, size: str) -> None:
    place = small_disk(f"size={size}")
    assert "the disk is full" in refused(*options(pair), out=place / "out")
    assert list(place.iterdir()) == []


def test_a_read_only_place(pair: tuple[Path, Path], refused: Refused, small_disk: Any) -> None:
    place = small_disk("ro,size=10m")
    assert "cannot be written: Read-only file system" in refused(*options(pair), out=place / "out")
