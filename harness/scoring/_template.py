"""From messages to token ids: the candidate's own chat template, one BOS, and a pooled token that is always the last.

The reward is read at the last real token, whatever the pad token is; sequences end there. Truncation cuts whole
sequences to `max_length` tokens on one side and is counted. Traps this avoids (PROTOCOLS): double BOS, the pooled
token moving when pad == eos, and truncation that nobody sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ScoringError
from harness.scoring._types import Request, ScoringOptions

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if not loop.last %}\n\n{% endif %}{% endfor %}"
)
"""Used, with a notice and recorded, when neither the candidate nor the user has a chat template."""

_UNBOUNDED = 1_000_000  # tokenizers without a limit say 1e30


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids as scored (the last one is pooled) and whether the text was cut."""

    ids: tuple[int, ...]
    cut: bool


def read_template(option: str) -> str:
    """The text of a `--chat-template` option: a template, or the path of a file with one."""
    if "{%" in option or "{{" in option:
        return option
    try:
        return Path(option).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"--chat-template {option}: neither a template nor a readable file ({error})") from None


class Encoder:
    """Encodes requests for one candidate; `settings` is its part of the protocol."""

    def __init__(self, tokenizer: Any, positions: int | None, options: ScoringOptions) -> None:
        self._tokenizer = tokenizer
        template = read_template(options.chat_template) if options.chat_template else tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            options.notify("the candidate has no chat template: a plain 'Role: text' one is used and recorded")
            template = PLAIN_TEMPLATE
        self.template: str = template
        self.system_prompt = options.system_prompt
        self.side = options.truncation_side or "left"
        self.max_length = self._limit(positions, options.max_length)
        self._before, self._after = self._special_tokens()

    def _limit(self, positions: int | None, wanted: int | None) -> int | None:
        own = [n for n in (positions, self._tokenizer.model_max_length) if n and n < _UNBOUNDED]
        if wanted is not None and positions is not None and wanted > positions:
            raise ScoringError(f"--max-length {wanted} is more than the model's {positions} positions")
        return wanted or (min(own) if own else None)

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Ids that the tokenizer itself puts before and after a text (BOS, perhaps EOS)."""
        bare = self._tokenizer("a", add_special_tokens=False)["input_ids"]
        full = self._tokenizer("a")["input_ids"]
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return full[:start], full[start + len(bare) :]
        return [], []

    def settings(self) -> dict[str, Any]:
        """The protocol's text side."""
        return {
            "chat_template": self.template,
            "system_prompt": self.system_prompt,
            "max_length": self.max_length,
            "truncation_side": self.side,
            "pooled_token": "last",
        }

    def messages(self, request: Request) -> list[dict[str, str]]:
        """Chat messages of a request, with the system prompt of the protocol."""
        turns = [{"role": m.role, "content": m.content} for m in request.prompt]
        if self.system_prompt is not None:
            turns = [t for t in turns if t["role"] != "system"]
            turns.insert(0, {"role": "system", "content": self.system_prompt})
        return [*turns, {"role": "assistant", "content": request.text}]

    def encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """Encode many requests; raises ScoringError when the template refuses a conversation."""
        texts = [self._render(request) for request in requests]
        rows = self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [self._finish(list(ids)) for ids in rows]

    def _render(self, request: Request) -> str:
        import jinja2

        try:
            text = self._tokenizer.apply_chat_template(
                self.messages(request), tokenize=False, chat_template=self.template, add_generation_prompt=False
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
            raise ScoringError(
                f"the chat template cannot render example {request.example_id or request.example_key[:12]}: {error};"
                " give another one with --chat-template"
            ) from None
        return str(text)

    def _finish(self, ids: list[int]) -> Encoded:
        before = [] if ids[: len(self._before)] == self._before else self._before
        after = [] if self._after and ids[-len(self._after) :] == self._after else self._after
        ids = [*before, *ids, *after]
        if not ids:
            raise ScoringError("an empty conversation gives no tokens: the chat template renders nothing")
        if self.max_length is None or len(ids) <= self.max_length:
            return Encoded(tuple(ids), cut=False)
        if self.side == "right":
            return Encoded(tuple(ids[: self.max_length]), cut=True)
        keep = self._before if len(self._before) < self.max_length else []  # a cut on the left leaves BOS in place
        return Encoded((*keep, *ids[len(ids) - self.max_length + len(keep) :]), cut=True)
