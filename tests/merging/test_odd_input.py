"""More ways to hand `harness merge` something wrong, each of which once went through or ended in a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merging_models import edit_json, edit_weights

Refused = Callable[..., str]
Pair = tuple[Path, Path]
HALF = torch.bfloat16


def options(pair: Pair, weight: object = 0.35) -> list[object]:
    return ["--rm", pair[0], "--sft", pair[1], "--lambda", weight]


def recipe(pair: Pair, **keys: Any) -> Path:
    path = pair[0].parent / "r.yaml"
    path.write_text(json.dumps({"rm": str(pair[0]), "experts": [{"model": str(pair[1]), "weight": 0.3}]} | keys))
    return path


def test_a_second_lambda_does_not_replace_the_first(pair: Pair, refused: Refused) -> None:
    assert "sweep:" in refused(*options(pair), "--lambda", 0.4)


def test_a_method_beside_a_recipe_is_not_ignored(pair: Pair, refused: Refused) -> None:
    assert "leave out --rm, --sft, --base and --method" in refused(recipe(pair), "--method", "slerp")


@pytest.mark.parametrize("keys", [{"layers": {"0": True}}, {"experts": [{"model": "m", "weight": True}]}])
def test_yes_is_no_lambda(pair: Pair, refused: Refused, keys: dict[str, Any]) -> None:
    assert "lambda must be a number between 0 and 1" in refused(recipe(pair, **keys))


def test_a_wrong_word_is_told_with_the_right_ones(pair: Pair, refused: Refused) -> None:
    said = refused(recipe(pair, dtype="bfloat"))
    assert said.endswith("dtype: 'bfloat' is not known: did you mean 'bfloat16'? known: bfloat16, float16, float32, rm")


def test_an_output_that_no_disk_takes(pair: Pair, refused: Refused, tmp_path: Path) -> None:
    assert "cannot be written: File name too long" in refused(*options(pair), out=tmp_path / ("x" * 300))
    (tmp_path / "file").write_text("")
    assert "a part of its path is a file" in refused(*options(pair), out=tmp_path / "file" / "x")


@pytest.mark.parametrize("settings", [["gptq"], "gptq"])
def test_quantised_in_any_spelling(pair: Pair, refused: Refused, settings: Any) -> None:
    edit_json(pair[0] / "config.json", quantization_config=settings)
    assert "is quantised" in refused(*options(pair))


def test_a_configuration_that_transformers_refuses(pair: Pair, refused: Refused) -> None:
    edit_json(pair[1] / "config.json", rms_norm_eps=None)
    assert "rms_norm_eps is 1e-06 against None" in refused(*options(pair))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score.weight": torch.ones(1, 8, dtype=HALF)}, "takes 8 numbers, its hidden states have 16"),
        ({"score.bias": torch.ones(2)}, "bias has shape [2]; a reward needs [1]"),
        ({"lm_head.weight": torch.ones(39, 16, dtype=HALF)}, "'lm_head.weight' has 39 rows, its token embedding 40"),
    ],
)
def test_heads_of_wrong_size(pair: Pair, refused: Refused, change: dict[str, torch.Tensor], said: str) -> None:
    edit_weights(pair[0], lambda t: t.update(change))
    assert said in refused(*options(pair))


def edit_vocabulary(folder: Path, **changes: int) -> None:
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    value["model"]["vocab"].update(changes)
    path.write_text(json.dumps(value))


def test_no_token_in_common(pair: Pair, refused: Refused) -> None:
    path = pair[1] / "tokenizer.json"
    value = json.loads(path.read_text())
    value["model"]["vocab"] = {f"q{token}": i for token, i in value["model"]["vocab"].items()}
    value["added_tokens"] = []
    path.write_text(json.dumps(value))
    assert "no token in common" in refused(*options(pair))


def test_an_id_far_beyond_the_rows(pair: Pair, refused: Refused) -> None:
    edit_vocabulary(pair[0], w0=10**9)
    assert "token 'w0' of the RM has the id 1,000,000,000, far beyond its 40 rows" in refused(*options(pair))


def test_a_negative_id_is_no_row(pair: Pair, tmp_path: Path) -> None:
    from merging_models import same_bits, weights

    from harness.config import Expert, Recipe
    from harness.merging._plan import plan_merge
    from harness.merging._writer import write_merge

    edit_vocabulary(pair[0], w1=-1)
    edit_vocabulary(pair[1], w1=-1)
    write_merge(
        plan_merge(Recipe(rm=str(pair[0]), experts=[Expert(model=str(pair[1]), weight=0.35)])), tmp_path / "out"
    )
    name = "model.embed_tokens.weight"
    a, b, merged = (weights(folder)[name] for folder in (*pair, tmp_path / "out"))
    assert same_bits(merged[39], torch.lerp(a[39], b[39], 0.35))  # the last row is w36's, whatever counts from behind
    assert same_bits(merged[4], a[4])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chat_template.jinja", b"\xff"), ("tokenizer_config.json", b"{"), ("special_tokens_map.json", b"{"),
        ("added_tokens.json", b"[]"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("which", [0, 1])
def test_damaged_small_files(pair: Pair, refused: Refused, name: str, text: bytes, which: int) -> None:
    (pair[which] / name).write_bytes(text)
    assert f"{pair[which] / name}: " in refused(*options(pair))


def test_a_token_that_is_no_text(pair: Pair, refused: Refused) -> None:
    path = pair[0] / "tokenizer.json"
    path.write_text(path.read_text().replace('"w1"', '"\\ud800"'))
    assert "tokenizer.json: is not a tokenizer" in refused(*options(pair))


def test_a_shape_that_is_no_whole_number(pair: Pair, refused: Refused) -> None:
    path = pair[0] / "model.safetensors"
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header["model.norm.weight"]["shape"] = [16.5]
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])
    assert "damaged" in refused(*options(pair))
