"""From questions to token ids and back: the policy's chat template, one BOS, the prefill inside the prompt.

The assistant's turn is opened by the template itself, with the prefill as its beginning, and left open: the same
tokens as if the policy had written the prefill. A response is prefill + what the policy adds; sampled ids are
decoded behind the prompt's last tokens, because many tokenizers drop the space of a text's first word.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import CandidateError, ScoringError
from harness.merging._checkpoint import read_json
from tasks._types import Message

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Used, with a notice and recorded, when the policy has no chat template."""

_CONTEXT = 8  # prompt tokens that samples are decoded behind


def load_tokenizer(folder: Path) -> Any:
    """The policy's tokenizer. Raises CandidateError."""
    import os

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CandidateError(f"{folder}: transformers cannot load its tokenizer: {first}") from None


def stop_tokens(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a response: what generation_config.json says (else config.json), and the tokenizer's EOS."""
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        own = read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        if own is not None:
            found.update(own if isinstance(own, list) else [own])
            break
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return tuple(sorted(found))


class Prompter:
    """Renders conversations with one tokenizer and template."""

    def __init__(
        self, tokenizer: Any, template: str, prefill: str, stop: Sequence[int], notify: Callable[[str], None]
    ) -> None:
        self._tokenizer, self._template, self._prefill = tokenizer, template, prefill
        self._stop, self._notify = frozenset(stop), notify
        self._fold_system = False

    def render(self, turns: Sequence[Message]) -> str:
        """The prompt as text, up to and with the prefill. Raises ScoringError where the template refuses it."""
        import jinja2

        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        failures = (jinja2.TemplateError, ValueError, TypeError, KeyError)
        try:
            return self._open(fold_system(messages) if self._fold_system else messages)
        except failures as error:
            said = error
        try:  # some templates know no system turn: its text then opens the first user turn
            text = self._open(fold_system(messages))
        except failures:
            raise ScoringError(f"the policy's chat template cannot render a question: {said}") from None
        self._fold_system = True
        self._notify("the policy's chat template has no system turn: the system prompt opens the first user turn")
        return text

    def _open(self, messages: list[dict[str, str]]) -> str:
        apply = self._tokenizer.apply_chat_template
        asked = str(apply(messages, tokenize=False, add_generation_prompt=True, chat_template=self._template))
        if not self._prefill:
            return asked
        begun = [*messages, {"role": "assistant", "content": self._prefill}]
        try:
            text = str(apply(begun, tokenize=False, continue_final_message=True, chat_template=self._template))
        except ValueError:  # the template rewrites the turn, so its end cannot be found
            return asked + self._prefill
        return text if text.endswith(self._prefill) else asked + self._prefill

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids with exactly the BOS that the tokenizer itself would put, once."""
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        bos = self._tokenizer.bos_token_id
        starts = bos is not None and self._tokenizer("a")["input_ids"][:1] == [bos]
        return tuple([bos, *ids] if starts and ids[:1] != [bos] else ids)

    def responses(self, prompt: Sequence[int], samples: Sequence[Sequence[int]]) -> list[str]:
        """Whole assistant turns as text: the prefill and what was sampled, without its stop token."""
        context = list(prompt[-_CONTEXT:])
        before = self._decode(context)
        texts = []
        for sample in samples:
            ids = list(sample[:-1] if sample and sample[-1] in self._stop else sample)
            whole = self._decode(context + ids)
            texts.append(self._prefill + (whole[len(before) :] if whole.startswith(before) else self._decode(ids)))
        return texts

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same conversation with the system text at the start of the first user turn."""
    if not messages or messages[0]["role"] != "system":
        return messages
    first = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return [first, *messages[2:]]


def conversation(system: str, shots: Sequence[tuple[Message, Message]], asked: Sequence[Message]) -> list[Message]:
    """System prompt (none where ""), worked examples, question."""
    opening = [Message("system", system)] if system else []
    return [*opening, *(turn for shot in shots for turn in shot), *asked]


def as_json(turns: Sequence[Message]) -> str:
    """A conversation as it enters a hash."""
    return json.dumps([[turn.role, turn.content] for turn in turns], ensure_ascii=False)
