"""Tokenizers put together: BPE merges, contradictions, files that spell the vocabulary out, loading again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging_models import edit_json, edit_weights, ids_of, same_bits, save_model, weights
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from harness.config import Expert, Recipe
from harness.errors import MergeError
from harness.merging._plan import plan_merge
from harness.merging._vocabulary import Vocabulary, align, check_merges
from harness.merging._writer import write_merge

LETTERS = ["<unk>", "<s>", "</s>", *"abcdefgh"]


def bpe(folder: Path, merges: list[tuple[str, str]], added: list[str] | None = None, **files: Any) -> None:
    """Replace a folder's tokenizer by a BPE one over LETTERS with these merges."""
    vocab = {token: i for i, token in enumerate([*LETTERS, *dict.fromkeys("".join(m) for m in merges)])}
    extra = [
        {"id": len(vocab) + i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i, token in enumerate(added or [])
    ]  # fmt: skip
    model = {"type": "BPE", "vocab": vocab, "merges": [list(m) for m in merges], "unk_token": "<unk>"}
    for path in folder.glob("tokenizer*"):
        path.unlink()
    raw = {"version": "1.0", "added_tokens": extra, "model": model, "pre_tokenizer": {"type": "Whitespace"}}
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (folder / name).write_text(content)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    return tuple(  # type: ignore[return-value]
        save_model(tmp_path / name, seed=i, reward=name == "rm", rows=20) for i, name in enumerate(("rm", "sft"))
    )


def single(pair: tuple[Path, Path], **more: Any) -> Recipe:
    return Recipe(rm=str(pair[0]), experts=[Expert(model=str(pair[1]), weight=0.5)], **more)


def cut(folder: Path, text: str) -> list[str]:
    return list(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).tokens)


def test_an_experts_longer_vocabulary_brings_its_merges(trees: tuple[Path, Path], tmp_path: Path) -> None:
    bpe(trees[0], [("a", "b"), ("c", "d")], ["[PAD]"])
    bpe(trees[1], [("a", "b"), ("c", "d"), ("ab", "cd"), ("e", "f")], ["<x>"])
    report = write_merge(plan_merge(single(trees)), tmp_path / "out")
    assert report.tokens == {"shared": 13, "rm_only": 1, "expert_only": 3, "rows": 23, "rm_rows": 20}
    assert cut(tmp_path / "out", "abcd ef [PAD] <x>") == ["abcd", "ef", "[PAD]", "<x>"]
    ids, theirs = ids_of(tmp_path / "out"), ids_of(trees[1])
    assert {t: i for t, i in ids.items() if i < 20} == ids_of(trees[0])
    merged, expert = (weights(f)["model.embed_tokens.weight"] for f in (tmp_path / "out", trees[1]))
    for token in ("abcd", "ef", "<x>"):
        assert same_bits(merged[ids[token]], expert[theirs[token]]), token
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("abcd <x> [PAD]")["input_ids"] == [ids["abcd"], ids["<x>"], ids["[PAD]"]]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([("a", "b"), ("b", "c")], [("b", "c"), ("a", "b")]),  # the same merges in another order
        ([("a", "b"), ("ab", "c")], [("b", "c"), ("a", "bc")]),  # "abc" is made in two ways
    ],
)
def test_contradictory_merges_are_an_error_with_an_override(
    trees: tuple[Path, Path], tmp_path: Path, mine: list[tuple[str, str]], theirs: list[tuple[str, str]]
) -> None:
    bpe(trees[0], mine)
    bpe(trees[1], theirs)
    with pytest.raises(MergeError, match="BPE merges contradict the RM's"):
        plan_merge(single(trees))
    write_merge(plan_merge(single(trees, options={"merges": "rm"})), tmp_path / "out")
    assert cut(tmp_path / "out", "abc") == cut(trees[0], "abc")


def test_files_are_copied_byte_for_byte_where_the_vocabulary_stays(trees: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in trees:
        bpe(folder, [("a", "b")])
    # What transformers 4.57 wrote and needs must not pass through transformers 5.
    edit_json(trees[0] / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast", legacy=True)
    (trees[0] / "special_tokens_map.json").write_text('{"unk_token":   "<unk>"}')
    (trees[0] / "generation_config.json").write_text("{ }")
    (trees[0] / "training_args.bin").write_bytes(b"secret")
    write_merge(plan_merge(single(trees)), tmp_path / "out")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "out" / name).read_bytes() == (trees[0] / name).read_bytes(), name
    assert (tmp_path / "out" / "generation_config.json").exists()
    assert not (tmp_path / "out" / "training_args.bin").exists()


def test_every_file_that_spells_the_vocabulary_follows(trees: tuple[Path, Path], tmp_path: Path) -> None:
    bpe(trees[0], [("a", "b")], ["[PAD]"], **{"tokenizer.model": "x", "merges.txt": "#version: 0.2\na b\n"})
    (trees[0] / "vocab.json").write_text(json.dumps({"a": 3}))
    (trees[0] / "added_tokens.json").write_text(json.dumps({"[PAD]": 12}))
    decoder = {"12": {"content": "[PAD]", "special": True}}
    edit_json(trees[0] / "tokenizer_config.json", added_tokens_decoder=decoder, tokenizer_class="LlamaTokenizerFast")
    bpe(trees[1], [("a", "b"), ("c", "d")], ["<x>"])
    write_merge(plan_merge(single(trees)), tmp_path / "out")
    out, ids = tmp_path / "out", ids_of(tmp_path / "out")
    config = json.loads((out / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "LlamaTokenizerFast"
    assert config["added_tokens_decoder"]["12"] == decoder["12"]
    assert config["added_tokens_decoder"][str(ids["<x>"])]["special"] is True
    assert json.loads((out / "added_tokens.json").read_text()) == {"[PAD]": 12, "<x>": ids["<x>"]}
    assert json.loads((out / "vocab.json").read_text())["cd"] == ids["cd"]
    assert (out / "merges.txt").read_text().splitlines() == ["#version: 0.2", "a b", "c d"]
    assert not (out / "tokenizer.model").exists()  # it would lack "cd"


def test_pairing_by_number_where_the_user_says_so(trees: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in trees:
        for path in folder.glob("tokenizer*"):
            path.unlink()
    write_merge(plan_merge(single(trees, options={"tokens": "by_id"})), tmp_path / "out")
    a, b, merged = (weights(f)["model.embed_tokens.weight"] for f in (*trees, tmp_path / "out"))
    assert same_bits(merged, a.lerp(b, 0.5))
    edit_weights(
        trees[1], lambda t: t.update({n: b[:10].clone() for n in t if n.endswith(("tokens.weight", "head.weight"))})
    )
    with pytest.raises(MergeError, match=r"the models have \[20, 10\] rows"):
        plan_merge(single(trees, options={"tokens": "by_id"}))


WORDS = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1).map(tuple)


def vocabulary(words: tuple[str, ...]) -> Vocabulary:
    return Vocabulary("WordLevel", {word: i for i, word in enumerate(words)}, {}, (), {})


@given(WORDS, WORDS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_every_token_gets_one_row_and_renumbering_an_expert_changes_nothing(
    mine: tuple[str, ...], theirs: tuple[str, ...], chance: Any
) -> None:
    found = align(vocabulary(mine), len(mine) + 2, [(vocabulary(theirs), len(theirs))], None)
    assert found.shared + found.rm_only == len(mine)
    assert found.shared + found.expert_only == len(theirs)
    assert found.rows == len(mine) + 2 + found.expert_only
    rows = dict(zip(mine, range(len(mine)), strict=True)) | dict(found.appended)
    for word, row in rows.items():
        assert found.experts[0][row] == (theirs.index(word) if word in theirs else -1)
    assert sum(i >= 0 for i in found.experts[0]) == len(theirs)
    shuffled = list(theirs)
    chance.shuffle(shuffled)
    again = align(vocabulary(mine), len(mine) + 2, [(vocabulary(tuple(shuffled)), len(theirs))], None)
    assert again.appended == found.appended
    assert [shuffled[i] if i >= 0 else "" for i in again.experts[0]] == [
        theirs[i] if i >= 0 else "" for i in found.experts[0]
    ]


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    other = Vocabulary("Unigram", {"a": 0}, {}, (), {})
    with pytest.raises(MergeError, match="has a Unigram tokenizer, the RM has WordLevel"):
        check_merges(vocabulary(("a",)), other, "sft")
