"""Final answers of GSM8K: find the number a text ends on, as exact decimal text.

Rule (PROTOCOLS; DogeRM uses the same two steps): the first number after the LAST "The answer is", else the last
number of the text. Numbers are compared as canonical decimal text, never as floats: "18.0", "$18" and "18" are one
answer, 0.1 + 0.2 is not an issue, and 20 digits stay 20 digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(
    r"""
    (?<![0-9])                                # not from the middle of a number
    (?P<sign>(?<![\w)\]}.%])(?<![0-9)\]}%]\s)-)?  # a minus, not a subtraction, a range or a hyphen
    (?P<currency>[$€£¥]\s?)?
    (?P<inner>(?<=[$€£¥])-)?                  # $-5
    (?P<whole>[0-9]+(?:,[0-9]{3})+(?![0-9])|[0-9]+|(?=\.[0-9]))
    (?:\.(?P<fraction>[0-9]+))?
    (?:[eE](?P<exponent>[+-]?[0-9]{1,2})(?![\w]))?
    """,
    re.VERBOSE,
)
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
    """Canonical form of a text that is one number and nothing else ("1,000" -> "1000"), else None."""
    match = _NUMBER.fullmatch(_clean(text).strip())
    return _canonical(match) if match else None


def _clean(text: str) -> str:
    return _LATEX_SPACE.sub("", _LATEX_COMMA.sub(",", text.translate(_MINUS)))


def _canonical(match: re.Match[str]) -> str:
    digits = match["whole"].replace(",", "")
    fraction = match["fraction"] or ""
    shift = int(match["exponent"] or 0)
    if shift > 0:
        fraction = fraction.ljust(shift, "0")
        digits, fraction = digits + fraction[:shift], fraction[shift:]
    elif shift < 0:
        digits = digits.rjust(-shift, "0")
        digits, fraction = digits[:shift], digits[shift:] + fraction
    whole, rest = digits.lstrip("0") or "0", fraction.rstrip("0")
    value = f"{whole}.{rest}" if rest else whole
    negative = bool(match["sign"] or match["inner"]) and value != "0"
    return f"-{value}" if negative else value
