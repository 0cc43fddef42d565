"""The DogeRM rule on whole folders: which bytes come out, for every kind of tensor and row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from merging_models import WORDS, edit_weights, ids_of, same_bits, save_model, weights
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.config import Expert, Recipe
from harness.errors import MergeError
from harness.merging._plan import plan_merge
from harness.merging._writer import MergeReport, write_merge

Make = Callable[..., Path]
EMBEDDING = "model.embed_tokens.weight"


def recipe(rm: Path, sft: Path, weight: float = 0.35, **more: object) -> Recipe:
    return Recipe(rm=str(rm), experts=[Expert(model=str(sft), weight=weight)], **more)


def run(rm: Path, sft: Path, out: Path, weight: float = 0.35, **more: object) -> MergeReport:
    return write_merge(plan_merge(recipe(rm, sft, weight, **more)), out)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_shared_tensor_is_lerp_in_float32_rounded_once(
    make: Make, tmp_path: Path, kind: str, dtype: torch.dtype
) -> None:
    rm, sft = (make(n, seed=i, reward=n == "rm", kind=kind, dtype=dtype) for i, n in enumerate(("rm", "sft")))
    run(rm, sft, tmp_path / "out", 0.35)
    a, b, merged = weights(rm), weights(sft), weights(tmp_path / "out")
    assert list(merged) == list(a)
    for name in set(a) & set(b):
        assert same_bits(merged[name], torch.lerp(a[name].float(), b[name].float(), 0.35).to(dtype)), name
    assert same_bits(merged["score.weight"], a["score.weight"])


def test_weighted_sum_is_the_formula_of_the_papers_code(make: Make, tmp_path: Path) -> None:
    rm, sft = make("rm", seed=1, reward=True), make("sft", seed=2, reward=False)
    run(rm, sft, tmp_path / "out", 0.35, formula="weighted_sum")
    a, b, merged = weights(rm), weights(sft), weights(tmp_path / "out")
    for name in set(a) & set(b):
        assert same_bits(merged[name], 0.35 * b[name] + (1 - 0.35) * a[name]), name
    assert any(not same_bits(merged[n], torch.lerp(a[n], b[n], 0.35)) for n in set(a) & set(b))


def test_lambda_0_is_the_reward_model_bit_for_bit(make: Make, tmp_path: Path) -> None:
    rm = make("rm", seed=1, reward=True, rows=48, added=["[PAD]"])
    sft = make("sft", seed=2, reward=False, added=["<new>"])

    def odd(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"][0] = -0.0
        tensors["model.norm.weight"][1] = float("nan")

    edit_weights(rm, odd)
    report = run(rm, sft, tmp_path / "out", 0.0)
    a, merged = weights(rm), weights(tmp_path / "out")
    assert merged[EMBEDDING].shape[0] == 49  # the expert's token is appended all the same
    for name in a:
        assert same_bits(merged[name][: len(a[name])], a[name]), name
    assert any("model.norm.weight" in note and "NaN" in note for note in report.notes)


def test_lambda_1_is_the_experts_body_under_the_rms_head(make: Make, tmp_path: Path) -> None:
    rm, sft = make("rm", seed=1, reward=True, added=["[PAD]"]), make("sft", seed=2, reward=False)
    edit_weights(sft, lambda tensors: tensors["model.norm.weight"].__setitem__(0, -0.0))
    run(rm, sft, tmp_path / "out", 1.0)
    a, b, merged = weights(rm), weights(sft), weights(tmp_path / "out")
    for name in set(a) & set(b) - {EMBEDDING}:
        assert same_bits(merged[name], b[name]), name
    assert same_bits(merged["score.weight"], a["score.weight"])
    assert same_bits(merged[EMBEDDING][:40], b[EMBEDDING])
    assert same_bits(merged[EMBEDDING][40], a[EMBEDDING][40])  # [PAD] has no other owner


def test_tokens_are_paired_by_string_not_by_id(make: Make, tmp_path: Path) -> None:
    shuffled = [*WORDS[:3], *reversed(WORDS[3:])]
    rm = make("rm", seed=1, reward=True, added=["[PAD]"])
    sft = make("sft", seed=2, reward=False, words=shuffled, added=["<b>", "<a>"])
    report = run(rm, sft, tmp_path / "out", 0.35)
    assert report.tokens | {} == {"shared": 40, "rm_only": 1, "expert_only": 2, "rows": 43, "rm_rows": 41}
    a, b, merged = (weights(folder)[EMBEDDING] for folder in (rm, sft, tmp_path / "out"))
    ids, theirs, out = ids_of(rm), ids_of(sft), ids_of(tmp_path / "out")
    for word in WORDS:
        assert out[word] == ids[word]
        assert same_bits(merged[ids[word]], torch.lerp(a[ids[word]], b[theirs[word]], 0.35)), word
    assert out["[PAD]"] == ids["[PAD]"]
    assert same_bits(merged[40], a[40])
    assert {out["<a>"], out["<b>"]} == {41, 42}
    for token in ("<a>", "<b>"):
        assert same_bits(merged[out[token]], b[theirs[token]])


def test_padding_rows_stay_and_new_tokens_come_after_them(make: Make, tmp_path: Path) -> None:
    rm = make("rm", seed=1, reward=True, rows=64, added=["[PAD]"])
    sft = make("sft", seed=2, reward=False, rows=128, added=["<new>"])
    run(rm, sft, tmp_path / "out", 0.5)
    a, b, merged = (weights(folder)[EMBEDDING] for folder in (rm, sft, tmp_path / "out"))
    assert merged.shape[0] == 65
    assert same_bits(merged[40:64], a[40:64])  # [PAD] and 23 rows of no token
    assert same_bits(merged[64], b[40])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer("w1 <new> [PAD] </s>")["input_ids"]
    assert ids == [4, 64, 40, 2]
    assert tokenizer.decode([64], skip_special_tokens=True) == ""  # still special
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.config.vocab_size == 65


def test_a_token_whose_row_is_missing_counts_as_absent(make: Make, tmp_path: Path) -> None:
    """[PAD] was added to the RM's tokenizer without a row: the expert brings one, under the RM's id."""
    rm = make("rm", seed=1, reward=True, rows=40, added=["[PAD]"])
    sft = make("sft", seed=2, reward=False, added=["[PAD]"])
    run(rm, sft, tmp_path / "out", 0.5)
    assert ids_of(tmp_path / "out")["[PAD]"] == 40
    assert same_bits(weights(tmp_path / "out")[EMBEDDING][40], weights(sft)[EMBEDDING][40])


@pytest.mark.parametrize("tied", [("rm", "sft"), ("sft",), ("rm",)])
def test_tied_embeddings_on_either_side(make: Make, tmp_path: Path, tied: tuple[str, ...]) -> None:
    rm = make("rm", seed=1, reward=True, tie_word_embeddings="rm" in tied)
    sft = make("sft", seed=2, reward=False, tie_word_embeddings="sft" in tied)
    run(rm, sft, tmp_path / "out", 0.35)
    a, b, merged = (weights(folder)[EMBEDDING] for folder in (rm, sft, tmp_path / "out"))
    assert same_bits(merged, torch.lerp(a, b, 0.35))


def test_shards_and_names_of_files_change_nothing(tmp_path: Path) -> None:
    for name, shard in (("one", "5GB"), ("many", "6KB")):
        save_model(tmp_path / name / "rm", seed=1, reward=True, shard=shard)
        save_model(tmp_path / name / "sft", seed=2, reward=False, shard="9KB" if name == "many" else "5GB")
    reports = [run(tmp_path / n / "rm", tmp_path / n / "sft", tmp_path / n / "out") for n in ("one", "many")]
    assert len(list((tmp_path / "many" / "out").glob("*.safetensors"))) > 2
    assert reports[0].weights == reports[1].weights
    assert reports[0].id == reports[1].id
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "many" / "out")


def test_the_output_loads_and_its_reward_is_that_of_the_merged_weights(pair: tuple[Path, Path], tmp_path: Path) -> None:
    rm, sft = pair
    run(rm, sft, tmp_path / "out", 0.35)
    model, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values())
    reference = AutoModelForSequenceClassification.from_pretrained(rm, dtype=torch.float32)
    with torch.no_grad():
        theirs = weights(sft)
        for name, parameter in reference.named_parameters():
            if name in theirs:
                parameter.copy_(torch.lerp(parameter, theirs[name].float(), 0.35).to(torch.bfloat16))
    ids = torch.tensor([[1, 5, 9, 11]])
    assert torch.equal(model(input_ids=ids).logits, reference(input_ids=ids).logits)


def test_parents_in_two_dtypes_are_computed_in_float32(make: Make, tmp_path: Path) -> None:
    rm = make("rm", seed=1, reward=True, dtype=torch.bfloat16)
    sft = make("sft", seed=2, reward=False, dtype=torch.float32)
    run(rm, sft, tmp_path / "out", 0.35)
    a, b, merged = weights(rm), weights(sft), weights(tmp_path / "out")
    for name in set(a) & set(b):
        assert same_bits(merged[name], torch.lerp(a[name].float(), b[name], 0.35).to(torch.bfloat16)), name


def test_a_wanted_dtype_is_written_and_said_in_the_configuration(pair: tuple[Path, Path], tmp_path: Path) -> None:
    run(*pair, tmp_path / "out", 0.35, dtype="float32")
    assert {t.dtype for t in weights(tmp_path / "out").values()} == {torch.float32}
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").dtype == torch.float32


def test_an_overflow_of_float16_is_an_error(make: Make, tmp_path: Path) -> None:
    rm, sft = make("rm", seed=1, reward=True), make("sft", seed=2, reward=False)
    edit_weights(sft, lambda t: t["model.norm.weight"].fill_(1e6))
    with pytest.raises(MergeError, match=r"model\.norm\.weight.*overflows float16"):
        run(rm, sft, tmp_path / "out", 0.5, dtype="float16")
    assert not (tmp_path / "out").exists()


def test_chunks_and_threads_do_not_change_a_byte(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.merging._source import FileSource

    found = set()
    for i, (chunk, threads) in enumerate([(1 << 18, 1), (1 << 18, 4), (1, 2), (17, 3), (100, 1)]):
        monkeypatch.setattr(FileSource, "chunk", chunk)
        found.add(write_merge(plan_merge(recipe(*pair)), tmp_path / f"out{i}", threads=threads).weights)
    assert len(found) == 1
