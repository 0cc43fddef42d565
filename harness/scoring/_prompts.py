"""System prompts that papers used, by name: `--system-prompt name:llama-2-chat`, or the same in a recipe's protocol.

The texts are those of the libraries that define them, checked against the hash that the paper's code has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from harness.errors import ScoringError, did_you_mean


def _llama_2_chat() -> str:
    """Llama-2-chat's default prompt as DogeRM's code spells it (src/utils.py): with typographic apostrophes."""
    from transformers.models.llama.tokenization_llama import DEFAULT_SYSTEM_PROMPT

    return str(DEFAULT_SYSTEM_PROMPT).replace("don't", "don\u2019t")


NAMED: dict[str, tuple[Callable[[], str], str]] = {
    "llama-2-chat": (_llama_2_chat, "b329b044e15dbd5bd0aa64e624596d330505575c20d08c45463c07cf79195df5"),
}
"""name -> (text, its SHA-256)."""


def system_prompt(said: str | None) -> str | None:
    """The text that an option means. Raises ScoringError for an unknown name, or a text that is not the paper's."""
    if said is None or not said.startswith("name:"):
        return said
    name = said.removeprefix("name:")
    if name not in NAMED:
        raise ScoringError(f"system prompt '{said}': {did_you_mean(name, NAMED)}")
    text, digest = NAMED[name][0](), NAMED[name][1]
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ScoringError(f"system prompt '{said}': the installed transformers has another text; give the text itself")
    return text
