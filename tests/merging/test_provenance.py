"""Identity by content: what changes it, what must not, and merge.json's promise."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import xxhash
from merging_models import TEMPLATE, edit_json, edit_weights, save_model, weights
from safetensors.torch import save_file

from harness import _hashing
from harness._hashing import folder_identity, weights_hash
from harness.cli.main import main
from harness.config import Expert, Recipe
from harness.errors import CandidateError
from harness.merging._plan import plan_merge
from harness.merging._provenance import merge_identity, read_merge_folder
from harness.merging._writer import MergeReport, write_merge

Make = Callable[..., Path]


def merged(pair: tuple[Path, Path], out: Path, weight: float = 0.35, **more: object) -> MergeReport:
    recipe = Recipe(rm=str(pair[0]), experts=[Expert(model=str(pair[1]), weight=weight)], **more)
    return write_merge(plan_merge(recipe), out)


def test_the_hash_is_of_the_tensors_not_of_the_files(tmp_path: Path) -> None:
    one = save_model(tmp_path / "one", seed=1, reward=True)
    many = save_model(tmp_path / "many", seed=1, reward=True, shard="6KB")
    other = save_model(tmp_path / "other", seed=2, reward=True)
    assert weights_hash(one) == weights_hash(many)
    assert weights_hash(one) != weights_hash(other)


def test_a_tensor_digest_is_xxh3_128_of_its_bytes(tmp_path: Path) -> None:
    value = torch.arange(300_000, dtype=torch.float32).reshape(3, -1)
    save_file({"a": torch.zeros(2), "b": value}, tmp_path / "model.safetensors")
    digests = _hashing.file_digests(tmp_path / "model.safetensors")
    assert digests["b"] == ("F32", (3, 100_000), xxhash.xxh3_128_hexdigest(value.numpy().tobytes()))


def test_dtype_shape_and_name_belong_to_the_identity() -> None:
    base = _hashing.fold({"a": ("F32", (2, 3), "00")})
    for other in ({"b": ("F32", (2, 3), "00")}, {"a": ("F32", (3, 2), "00")}, {"a": ("I32", (2, 3), "00")}):
        assert _hashing.fold(other) != base


def test_an_unchanged_file_is_not_read_again(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights_hash(pair[0])

    def never(_ref: object) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(_hashing, "tensor_digest", never)
    assert weights_hash(pair[0]) == before
    path = pair[0] / "model.safetensors"
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssertionError, match="read again"):
        weights_hash(pair[0])


def test_a_change_that_keeps_size_and_time_is_seen(pair: tuple[Path, Path]) -> None:
    path = pair[0] / "model.safetensors"
    before, stat = weights_hash(pair[0]), path.stat()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert weights_hash(pair[0]) != before


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"stamp": 1}', '{"stamp": null, "tensors": 3}'])
def test_a_damaged_cache_is_ignored(pair: tuple[Path, Path], damage: str) -> None:
    before = weights_hash(pair[0])
    for entry in (Path(os.environ["HARNESS_CACHE_DIR"]) / "hashes").iterdir():
        entry.write_text(damage)
    assert weights_hash(pair[0]) == before


def test_a_cache_that_cannot_be_written_is_no_error(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "file"))
    assert len(weights_hash(pair[0])) == 64


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CandidateError, match="pickle"):
        weights_hash(tmp_path)


def test_identity_follows_template_tokenizer_and_meaning_only(pair: tuple[Path, Path]) -> None:
    rm = pair[0]
    before = folder_identity(rm)
    edit_json(rm / "config.json", transformers_version="9.9", use_cache=False, _name_or_path="elsewhere")
    (rm / "README.md").write_text("hello")
    assert folder_identity(rm) == before
    edit_json(rm / "config.json", rms_norm_eps=1e-3)
    assert {k for k, v in folder_identity(rm).items() if v != before[k]} == {"config"}
    (rm / "chat_template.jinja").write_text(TEMPLATE + "!")
    assert {k for k, v in folder_identity(rm).items() if v != before[k]} == {"config", "template"}
    edit_json(rm / "tokenizer_config.json", add_bos_token=True)
    assert {k for k, v in folder_identity(rm).items() if v != before[k]} == {"config", "template", "tokenizer"}


def test_a_template_is_the_same_wherever_it_is_kept(pair: tuple[Path, Path]) -> None:
    rm = pair[0]
    before = folder_identity(rm)
    (rm / "chat_template.jinja").unlink()
    assert folder_identity(rm)["template"] != before["template"]
    edit_json(rm / "tokenizer_config.json", chat_template=TEMPLATE)
    assert folder_identity(rm) == before


def test_the_merge_id_depends_on_content_not_on_paths(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first = merged(pair, tmp_path / "out")
    moved = tmp_path / "elsewhere"
    shutil.copytree(pair[0], moved / "a")
    shutil.copytree(pair[1], moved / "b")
    assert merged((moved / "a", moved / "b"), moved / "out").id == first.id
    assert merged(pair, tmp_path / "other", 0.36).id != first.id
    assert merged(pair, tmp_path / "sum", formula="weighted_sum").id != first.id
    edit_weights(moved / "b", lambda t: t["model.norm.weight"].add_(1))
    assert merged((moved / "a", moved / "b"), moved / "out2").id != first.id


def test_what_changes_no_weight_changes_no_id(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first = merged(pair, tmp_path / "out")
    edit_json(pair[1] / "config.json", use_cache=False)
    (pair[1] / "chat_template.jinja").write_text("another")  # the expert's template is not used
    more = {"tasks": ["rewardbench"], "seed": 7, "options": {"config": "rm"}}
    assert merged(pair, tmp_path / "again", **more).id == first.id


def test_a_recipe_in_memory_has_the_folders_id(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = merged(pair, tmp_path / "out")
    recipe = Recipe(rm=str(pair[0]), experts=[Expert(model=str(pair[1]))], sweep=[0.35]).at(0.35)
    parents = {"rm": folder_identity(pair[0]), "expert 0": folder_identity(pair[1])}
    assert merge_identity(recipe, parents) == report.id == read_merge_folder(tmp_path / "out")


@pytest.mark.parametrize("change", ["weights", "template", "config", "tokenizer", "record", "id"])
def test_a_changed_folder_is_no_merge_any_more(pair: tuple[Path, Path], tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    report = merged(pair, out)
    assert read_merge_folder(out) == report.id
    if change == "weights":
        edit_weights(out, lambda t: t["score.weight"].add_(1))
    elif change == "template":
        (out / "chat_template.jinja").write_text("other")
    elif change == "config":
        edit_json(out / "config.json", rms_norm_eps=0.1)
    elif change == "tokenizer":
        edit_json(out / "tokenizer_config.json", add_bos_token=True)
    elif change == "record":
        record = json.loads((out / "merge.json").read_text())
        edit_json(out / "merge.json", canonical=record["canonical"] | {"weights": [0.4]})
    else:
        edit_json(out / "merge.json", id="0" * 64)
    assert read_merge_folder(out) is None


def test_a_plain_folder_is_no_merge(pair: tuple[Path, Path]) -> None:
    assert read_merge_folder(pair[0]) is None
    (pair[0] / "merge.json").write_text("[]")
    assert read_merge_folder(pair[0]) is None


def test_the_record_says_what_was_done(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = merged(pair, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert record["id"] == report.id
    assert record["tokens"] == {"shared": 40, "rm_only": 0, "expert_only": 0, "rows": 40, "rm_rows": 40}
    assert record["parents"]["rm"]["identity"]["weights"] == weights_hash(pair[0])
    assert record["output"]["identity"]["weights"] == weights_hash(tmp_path / "out") == report.weights
    assert record["versions"]["torch"].startswith(torch.__version__)
    card = (tmp_path / "out" / "README.md").read_text()
    assert report.id in card
    assert "0.35" in card


def test_hashes_made_while_merging_are_those_of_a_fresh_reading(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rm = make("rm", seed=1, reward=True, rows=64)
    sft = make("sft", seed=2, reward=False, added=["<new>"])
    merged((rm, sft), tmp_path / "out")
    cached = [weights_hash(folder) for folder in (rm, sft, tmp_path / "out")]
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "fresh"))
    assert [weights_hash(folder) for folder in (rm, sft, tmp_path / "out")] == cached


def test_verify_makes_the_merge_again(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    merged(pair, out)

    def verify() -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["merge", "--verify", str(out)])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out + captured.err

    assert verify()[0] == 0
    edit_weights(out, lambda t: t["model.norm.weight"].add_(1))
    code, said = verify()
    assert code == 2
    assert "1 tensors differ" in said
    assert "model.norm.weight" in said
    edit_weights(pair[1], lambda t: t["model.norm.weight"].add_(1))
    assert "parents are not the models" in verify()[1]
    shutil.rmtree(pair[1])
    assert "cannot be made again" in verify()[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rm"]
    assert weights(out)
