"""From messages to token ids: one BOS, the last token pooled, cuts counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scoring_models import candidate, request
from tiny import TEMPLATE, tokenizer

from harness.errors import ScoringError
from harness.scoring._describe import describe
from harness.scoring._template import PLAIN_TEMPLATE, Encoder, TextSettings, text_settings
from harness.scoring._types import Request, ScoringOptions
from tasks._types import Message

BOS, EOS = 1, 2


def encoder(template: str = TEMPLATE, words: Any = None, **settings: Any) -> Encoder:
    chosen = {"system_prompt": None, "max_length": None, "truncation_side": "left", **settings}
    return Encoder(words or tokenizer([]), TextSettings(template, **chosen))


def ids(made: Encoder, *requests: Request) -> list[list[int]]:
    return [e.ids.tolist() for e in made.encode(requests)]


def words_of(made: Encoder, row: list[int]) -> str:
    return " ".join(made.tokenizer.convert_ids_to_tokens(row))


def test_a_template_with_bos_and_a_tokenizer_with_bos_give_one_bos() -> None:
    (row,) = ids(encoder(), request("k", 0, "a of", "it"))
    assert row.count(BOS) == 1
    assert row[0] == BOS


def test_a_template_without_bos_gets_the_tokenizers() -> None:
    (row,) = ids(encoder(template=PLAIN_TEMPLATE), request("k", 0, "a of", "it"))
    assert row.count(BOS) == 1
    assert row[0] == BOS


def test_a_tokenizer_that_adds_eos_ends_every_sequence_with_one_eos() -> None:
    from tokenizers import processors

    words = tokenizer([])
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    plain, closed = (encoder(template=t, words=words) for t in (PLAIN_TEMPLATE, TEMPLATE))
    assert ids(plain, request("k", 0, "a", "it"))[0][-2:] == [words.convert_tokens_to_ids("it"), EOS]
    assert ids(closed, request("k", 0, "a", "it"))[0].count(EOS) == 2  # one a turn, none added


def test_padding_settings_of_the_tokenizer_change_nothing() -> None:
    rows = [request("k", 0, "a", "it"), request("l", 0, "a of the and in", "it was")]
    right, left, without = tokenizer([]), tokenizer([]), tokenizer([])
    left.padding_side = "left"
    without.pad_token = None
    assert ids(encoder(words=right), *rows) == ids(encoder(words=left), *rows) == ids(encoder(words=without), *rows)


def test_the_pooled_token_is_the_last_one_even_when_it_is_the_pad_token() -> None:
    made = encoder()
    assert made.tokenizer.pad_token_id == EOS
    (row,) = ids(made, request("k", 0, "a", "it"))
    assert row[-1] == EOS


@pytest.mark.parametrize("side", ["left", "right"])
def test_cuts_keep_bos_or_the_start_and_are_counted(side: str) -> None:
    whole, short = encoder(truncation_side=side), encoder(truncation_side=side, max_length=9)
    asked = request("k", 0, "what is", "it was")
    full, cut = whole.encode([asked])[0], short.encode([asked])[0]
    assert (full.cut, cut.cut) == (False, True)
    if side == "left":
        assert cut.ids.tolist() == [BOS, *full.ids[-8:].tolist()]
        assert cut.split == 0  # its start is no longer the prompt that others share
    else:
        assert cut.ids.tolist() == full.ids[:9].tolist()


def test_a_sequence_of_exactly_the_longest_length_is_not_cut() -> None:
    size = len(ids(encoder(), request("k", 0, "what is", "it was"))[0])
    (found,) = encoder(max_length=size).encode([request("k", 0, "what is", "it was")])
    assert not found.cut


def test_a_system_prompt_replaces_the_conversations_own() -> None:
    made = encoder(system_prompt="not this")
    asked = Request("k", 0, (Message("system", "but that"), Message("user", "a")), "it")
    text = words_of(made, ids(made, asked)[0])
    assert "] not this </s>" in text
    assert "but that" not in text


def test_responses_of_a_prompt_split_at_its_end() -> None:
    made = encoder()
    one, other, empty = made.encode([request("k", i, "a of", text) for i, text in enumerate(["it was", "the", ""])])
    assert one.split == other.split == len(made.tokenizer("[user] a of </s> [assistant]").input_ids)
    assert one.ids[: one.split].tolist() == other.ids[: other.split].tolist()
    assert 0 < empty.split < len(empty.ids)


def test_the_split_does_not_depend_on_the_neighbours() -> None:
    same = [request("k", i, "a of", "it was the same") for i in range(2)]
    alone, among = encoder().encode(same[:1]), encoder().encode(same)  # identical texts share more than the prompt
    assert alone[0].split == among[0].split


def test_a_template_that_renders_the_prompt_differently_alone_shares_less() -> None:
    changing = "{{ messages | length }} {% for m in messages %}{{ m['content'] }} {% endfor %}"
    (found,) = encoder(template=changing).encode([request("k", 0, "a of", "it was")])
    assert found.split == 1  # BOS; then comes the number of messages


def test_a_template_that_refuses_a_prompt_alone_shares_nothing() -> None:
    strict = (
        "{% if messages[-1]['role'] != 'assistant' %}{{ raise_exception('no answer') }}{% endif %}"
        "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    )
    (found,) = encoder(template=strict).encode([request("k", 0, "a of", "it was")])
    assert found.split in (0, 1)


def test_a_template_that_refuses_a_conversation_names_the_example() -> None:
    refusing = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ScoringError, match=r"cannot render example k: roles must alternate; give another one"):
        encoder(template=refusing).encode([request("k", 0, "a", "it")])


def test_an_empty_rendering_is_an_error() -> None:
    bare = tokenizer([])
    bare.backend_tokenizer.post_processor = None
    with pytest.raises(ScoringError, match="renders nothing"):
        encoder(template="{{ '' }}", words=bare).encode([request("k", 0, "", "")])


def test_many_prompts_are_encoded_as_one_by_one() -> None:
    made = encoder()
    asked = [request(f"k{i}", i % 2, "a of the " * (i // 2 % 7), "it " * (i % 5)) for i in range(2100)]
    together = made.encode(asked)
    for i in (0, 1, 255, 256, 1023, 1024, 1300, 2099):
        (alone,) = made.encode([asked[i]])
        assert together[i].ids.tolist() == alone.ids.tolist()
        assert together[i].split == alone.split


# ------------------------------------------------------------------ settings, read without a tokenizer


def options(**settings: Any) -> ScoringOptions:
    return ScoringOptions(**settings)


def test_settings_come_from_the_candidates_files(copied: Path) -> None:
    found = text_settings(describe(candidate(copied)), options())
    assert found.chat_template == TEMPLATE
    assert found.max_length == 256
    assert found.as_json()["pooled_token"] == "last"


def test_the_settings_are_what_transformers_tokenizer_says(family: Callable[[str], Path]) -> None:
    from transformers import AutoTokenizer

    folder = family("llama")
    assert AutoTokenizer.from_pretrained(folder).chat_template == describe(candidate(folder)).template


def test_the_template_named_default_of_several_is_used(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    path = copied / "tokenizer_config.json"
    several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ 'yes' }}"}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": several}))
    assert describe(candidate(copied)).template == "{{ 'yes' }}"


def test_without_a_template_a_plain_one_is_used_and_said(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    said: list[str] = []
    found = text_settings(describe(candidate(copied)), options(notify=said.append))
    assert found.chat_template == PLAIN_TEMPLATE
    assert "no chat template" in said[0]


def test_a_template_can_be_given_as_text_or_file(copied: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{{ 'file' }}")
    model = describe(candidate(copied))
    assert text_settings(model, options(chat_template=str(path))).chat_template == "{{ 'file' }}"
    assert text_settings(model, options(chat_template="{{ 'text' }}")).chat_template == "{{ 'text' }}"
    with pytest.raises(ScoringError, match="neither a template nor a readable file"):
        text_settings(model, options(chat_template="missing.jinja"))


def test_a_longest_length_beyond_the_models_positions_is_refused(copied: Path) -> None:
    with pytest.raises(ScoringError, match="--max-length 300 is more than the model's 256 positions"):
        text_settings(describe(candidate(copied)), options(max_length=300))


def test_the_tokenizers_limit_counts_when_it_is_the_shorter_one(copied: Path) -> None:
    path = copied / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 100}))
    assert text_settings(describe(candidate(copied)), options()).max_length == 100
