"""The program in a policy's answer: the first fenced block, else the whole text. Text is never parsed as Python
here, because the answer is untrusted and Python's own parser can be made to crash."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

# A fence opens at the start of a line with any tag, or anywhere when it is tagged as Python. The look-behinds keep
# the search linear on long runs of marks.
_OPEN = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*(?:\n|\Z)|(?<!`)(?P<inline>`{3,})(?:python3?|py)\b[ \t]*\n?", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Program:
    """A program with the rule that found it."""

    code: str
    rule: str


def extract_program(text: str) -> Program:
    """The first fenced block that is not empty (dedented; an unclosed one runs to the end), else the text as it is."""
    text = text.replace("\r\n", "\n")
    blocks = _blocks(text)
    for number, (code, rule) in enumerate(blocks, 1):
        if code.strip():
            more = f", {number} of {len(blocks)}" if len(blocks) > 1 else ""
            return Program(textwrap.dedent(code), rule + more)
    if blocks:
        return Program("", "empty fenced block")
    return Program(text, "no fence: the whole text" if text.strip() else "empty text")


def _blocks(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while opening := _OPEN.search(text, position):
        closing = _closing(opening).search(text, opening.end())
        if closing is None:
            found.append((text[opening.end() :], "fenced block, not closed"))
            break
        found.append((text[opening.end() : closing.start()].rstrip(" \t").removesuffix("\n"), "fenced block"))
        position = closing.end()
    return found


def _closing(opening: re.Match[str]) -> re.Pattern[str]:
    """As many marks or more at the end of a line (models forget the newline before them), or anywhere for one line."""
    fence = opening["fence"] or opening["inline"]
    marks = rf"(?<!{re.escape(fence[0])}){re.escape(fence)}{re.escape(fence[0])}*"
    one_line = opening["fence"] is None and not opening[0].endswith("\n")
    return re.compile(marks if one_line else rf"{marks}[ \t]*$", re.MULTILINE)
