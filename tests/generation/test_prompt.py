"""Prompts: the policy's own template, the prefill inside the assistant's turn, one BOS; and text out of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import TEMPLATE, tokenizer

from harness.errors import ScoringError
from harness.generation._prompt import PLAIN_TEMPLATE, Prompter, conversation, stop_tokens
from tasks._types import Message

ASKED = conversation("be it", (), [Message("user", "what is 2 ?")])
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m['role'] }}] {{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


def _prompter(template: str = TEMPLATE, prefill: str = "step", said: list[str] | None = None) -> Prompter:
    return Prompter(tokenizer(["step"]), template, prefill, (2,), (said if said is not None else []).append)


def test_the_prefill_opens_the_assistants_turn_and_leaves_it_open() -> None:
    assert _prompter().render(ASKED) == "<s>[system] be it </s>[user] what is 2 ? </s>[assistant] step"


def test_without_a_prefill_the_template_opens_the_turn() -> None:
    assert _prompter(prefill="").render(ASKED) == "<s>[system] be it </s>[user] what is 2 ? </s>[assistant] "


def test_the_plain_template_names_the_roles() -> None:
    plain = _prompter(PLAIN_TEMPLATE).render(ASKED)
    assert plain == "System: be it\n\nUser: what is 2 ?\n\nAssistant: step"
    assert _prompter(PLAIN_TEMPLATE, "").render(ASKED).endswith("\n\nAssistant: ")


def test_a_template_without_system_turns_gets_the_system_prompt_in_the_users() -> None:
    said: list[str] = []
    prompter = _prompter(NO_SYSTEM, said=said)
    assert prompter.render(ASKED) == prompter.render(ASKED) == "<s>[user] be it\n\nwhat is 2 ?[assistant] step"
    assert len(said) == 1


def test_a_template_that_renders_nothing_is_one_sentence() -> None:
    with pytest.raises(ScoringError, match="cannot render a question"):
        _prompter("{{ raise_exception('never') }}").render(ASKED)


def test_examples_come_as_turns_before_the_question() -> None:
    shots = [(Message("user", "what is 1 ?"), Message("assistant", "step 1"))]
    roles = [turn.role for turn in conversation("be", shots, [Message("user", "what is 2 ?")])]
    assert roles == ["system", "user", "assistant", "user"]
    assert conversation("", (), ASKED[1:]) == ASKED[1:]


@pytest.mark.parametrize("text", ["<s>the step", "the step"])
def test_there_is_one_bos_whoever_writes_it(text: str) -> None:
    words = tokenizer(["step"])
    ids = _prompter().encode(text)
    assert list(ids) == [1, words.convert_tokens_to_ids("the"), words.convert_tokens_to_ids("step")]


def test_the_first_word_keeps_its_space_and_the_stop_token_is_left_out() -> None:
    """Decoders that join words by marks drop the mark of a text's first word: 'step.It' instead of 'step. It'."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "▁step.": 3, "▁It": 4, "▁is": 5}, "<unk>"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    words = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    assert words.decode([4, 5]) == "It is"
    prompter = Prompter(words, TEMPLATE, "step.", (2,), print)
    assert prompter.responses([1, 3], [[4, 5, 2], [4], [2], []]) == ["step. It is", "step. It", "step.", "step."]


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [({"eos_token_id": [5, 9]}, {"eos_token_id": 7}, (2, 5, 9)), (None, {"eos_token_id": 7}, (2, 7)), ({}, {}, (2,))],
)
def test_every_token_that_ends_a_turn_stops(
    tmp_path: Path, generation: dict[str, object] | None, config: dict[str, object], expected: tuple[int, ...]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert stop_tokens(tmp_path, tokenizer([])) == expected
