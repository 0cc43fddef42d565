"""Final answers of GSM8K: find the number a text ends on, as exact decimal text.

Rule (PROTOCOLS; DogeRM uses the same two steps): the first number after the LAST "The answer is", else the last
number of the text. Numbers are compared as canonical decimal text, never as floats: "18.0", "$18" and "18" are one
answer, 0.1 + 0.2 is not an issue, and 20 digits stay 20 digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Starts with a digit or a point, so that the search skips over prose; what stands before it is looked at afterwards.
_NUMBER = re.compile(
    r"""
    (?: (?P<whole>[0-9]+(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.(?P<fraction>[0-9]+))?
      | \.(?<![0-9]\.)(?P<bare>[0-9]+)
    )
    (?:[eE](?P<exponent>[+-]?[0-9]{1,2})(?!\w))?
    """,
    re.VERBOSE,
)
# A minus next to the number or its currency sign; after a word, a number or a bracket it subtracts or joins.
_SIGN = re.compile(r"(?:(?<![\w)\]}.%])(?<![0-9)\]}%]\s)-(?:[$€£¥]\s?)?|[$€£¥]-)\Z")
_SIGN_WINDOW = 6  # characters that _SIGN can look at
_PREFIX = re.compile(r"-?(?:[$€£¥]\s?)?-?")
_MARK = re.compile(r"The answer is")
_LATEX_COMMA = re.compile(r"\{,\}(?=[0-9])")
_LATEX_SPACE = re.compile(r"\\[,!;: ]|\\(?=[$%])")  # thin spaces, and the backslash of \$ and \%
_MINUS = str.maketrans({"−": "-", "–": "-", "‐": "-", "‑": "-"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An extracted answer: canonical decimal text, and the rule that found it."""

    number: str
    rule: str


def extract(text: str) -> Answer | None:
    """The final answer of a solution, or None where it holds no number at all."""
    cleaned = _clean(text)
    marks = list(_MARK.finditer(cleaned))
    if marks:
        first = _NUMBER.search(cleaned, marks[-1].end())
        if first:
            return Answer(_canonical(first), "first number after 'The answer is'")
    numbers = list(_NUMBER.finditer(cleaned))
    return Answer(_canonical(numbers[-1]), "last number of the text") if numbers else None


def parse_number(text: str) -> str | None:
    """Canonical form of a text that is one number and nothing else ("$1,000" -> "1000"), else None."""
    cleaned = _clean(text).strip()
    match = _NUMBER.search(cleaned)
    if match is None or match.end() != len(cleaned) or not _PREFIX.fullmatch(cleaned, 0, match.start()):
        return None
    return _canonical(match)


def _clean(text: str) -> str:
    return _LATEX_SPACE.sub("", _LATEX_COMMA.sub(",", text.translate(_MINUS)))


def _canonical(match: re.Match[str]) -> str:
    digits = (match["whole"] or "").replace(",", "")
    fraction = match["fraction"] or match["bare"] or ""
    shift = int(match["exponent"] or 0)
    if shift > 0:
        fraction = fraction.ljust(shift, "0")
        digits, fraction = digits + fraction[:shift], fraction[shift:]
    elif shift < 0:
        digits = digits.rjust(-shift, "0")
        digits, fraction = digits[:shift], digits[shift:] + fraction
    whole, rest = digits.lstrip("0") or "0", fraction.rstrip("0")
    value = f"{whole}.{rest}" if rest else whole
    before = match.string[max(0, match.start() - _SIGN_WINDOW) : match.start()]
    return f"-{value}" if value != "0" and _SIGN.search(before) else value
