"""From messages to token ids: the candidate's own chat template, one BOS, and a pooled token that is always the last.

The reward is read at the last real token, whatever the pad token is; sequences end there. Truncation cuts whole
sequences to `max_length` tokens on one side and is counted. Traps this avoids (docs/scoring.md): double BOS, the
pooled token moving when pad == eos, and truncation that nobody sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ScoringError
from harness.scoring._batching import Encoded
from harness.scoring._describe import Description
from harness.scoring._prompts import system_prompt
from harness.scoring._types import Request, ScoringOptions

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if not loop.last %}\n\n{% endif %}{% endfor %}"
)
"""Used, with a notice and recorded, when neither the candidate nor the user has a chat template."""

_CHUNK = 256  # texts tokenised at a time: bounds the memory of Python lists of ids


@dataclass(frozen=True, slots=True)
class TextSettings:
    """The text side of the protocol; known without loading a tokenizer."""

    chat_template: str
    system_prompt: str | None
    max_length: int | None
    truncation_side: str
    pooled_token: str = "last"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def text_settings(found: Description, options: ScoringOptions) -> TextSettings:
    """What the user fixed, else what the candidate's files say. Raises ScoringError."""
    template = read_template(options.chat_template) if options.chat_template else found.template
    if not template:
        options.notify("the candidate has no chat template: a plain 'Role: text' one is used and recorded")
        template = PLAIN_TEMPLATE
    wanted = options.max_length
    if wanted is not None and found.positions is not None and wanted > found.positions:
        raise ScoringError(f"--max-length {wanted} is more than the model's {found.positions} positions")
    own = [n for n in (found.positions, found.limit) if n]
    longest = wanted or (min(own) if own else None)
    return TextSettings(template, system_prompt(options.system_prompt), longest, options.truncation_side or "left")


def read_template(option: str) -> str:
    """The text of a `--chat-template` option: a template, or the path of a file with one."""
    if "{%" in option or "{{" in option:
        return option
    try:
        return Path(option).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"--chat-template {option}: neither a template nor a readable file ({error})") from None


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    length = min(len(one), len(other))
    different = np.asarray(one[:length]) != np.asarray(other[:length])
    return int(different.argmax()) if different.any() else length


class Encoder:
    """Encodes requests with one tokenizer under one protocol."""

    def __init__(self, tokenizer: Any, settings: TextSettings) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self._before, self._after = self._special_tokens()

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Ids that the tokenizer itself puts before and after a text (BOS, perhaps EOS)."""
        bare = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        full = self.tokenizer("a")["input_ids"]
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return full[:start], full[start + len(bare) :]
        return [], []

    def messages(self, request: Request, *, response: bool) -> list[dict[str, str]]:
        """Chat messages of a request, with the system prompt of the protocol."""
        turns = [{"role": m.role, "content": m.content} for m in request.prompt]
        if self.settings.system_prompt is not None:
            turns = [t for t in turns if t["role"] != "system"]
            turns.insert(0, {"role": "system", "content": self.settings.system_prompt})
        return [*turns, {"role": "assistant", "content": request.text}] if response else turns

    def encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """Encode many requests; raises ScoringError when the template refuses a conversation."""
        found: list[Encoded] = []
        prompts: dict[tuple[Any, ...], list[int]] = {}
        for start in range(0, len(requests), _CHUNK):
            chunk = requests[start : start + _CHUNK]
            fresh = {r.prompt: r for r in chunk if r.prompt not in prompts}
            if len(prompts) > 4 * _CHUNK:  # neighbours share prompts; far ones need not be remembered
                prompts, fresh = {}, {r.prompt: r for r in chunk}
            opened = self._tokenise([self._open(r) for r in fresh.values()])
            prompts.update(zip(fresh, opened, strict=True))
            rows = self._tokenise([self._render(r) for r in chunk])
            found += [self._finish(ids, prompts[r.prompt]) for r, ids in zip(chunk, rows, strict=True)]
        return found

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        rows = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [ids if ids[: len(self._before)] == self._before else [*self._before, *ids] for ids in rows]

    def _open(self, request: Request) -> str:
        """The conversation up to where the response begins; "" where the template cannot give that."""
        import jinja2

        try:
            return self._apply(self.messages(request, response=False), opened=True)
        except (jinja2.TemplateError, ValueError, TypeError, KeyError):
            return ""  # nothing is shared then

    def _render(self, request: Request) -> str:
        import jinja2

        try:
            return self._apply(self.messages(request, response=True), opened=False)
        except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
            raise ScoringError(
                f"the chat template cannot render example {request.example_id or request.example_key[:12]}: {error};"
                " give another one with --chat-template"
            ) from None

    def _apply(self, messages: list[dict[str, str]], *, opened: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, chat_template=self.settings.chat_template, add_generation_prompt=opened
            )
        )

    def _finish(self, ids: list[int], prompt: list[int]) -> Encoded:
        """Close, cut and split one sequence. A sequence cut on the left shares no prompt: its start is its own."""
        if self._after and ids[-len(self._after) :] != self._after:
            ids = [*ids, *self._after]
        if not ids:
            raise ScoringError("an empty conversation gives no tokens: the chat template renders nothing")
        limit = self.settings.max_length
        split = common_prefix(ids, prompt)
        if limit is None or len(ids) <= limit:
            return _encoded(ids, split, cut=False)
        if self.settings.truncation_side == "right":
            return _encoded(ids[:limit], split, cut=True)
        keep = self._before if len(self._before) < limit else []  # a cut on the left leaves BOS in place
        return _encoded([*keep, *ids[len(ids) - limit + len(keep) :]], 0, cut=True)


def _encoded(ids: Sequence[int], split: int, *, cut: bool) -> Encoded:
    return Encoded(np.asarray(ids, dtype=np.int32), min(split, len(ids) - 1), cut)
