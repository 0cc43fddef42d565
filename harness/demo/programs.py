"""The demo's programs (programs.yaml): a request, right and wrong programs, and asserts that tell them apart.

The demo's word-level vocabulary cannot spell programs; they are here to exercise the sandbox and Best-of-N, and
what a reward says about them means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, slots=True)
class Program:
    """A body is the expression that `call`, as in `add(a, b)`, returns; the first right one is the reference."""

    text: str
    call: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]  # arguments and the expected value, both as Python literals

    @property
    def name(self) -> str:
        """The function's name."""
        return self.call.partition("(")[0]

    def source(self, body: str) -> str:
        """The program as Python text."""
        return f"def {self.call}:\n    return {body}"

    def asserts(self) -> list[str]:
        """One assert statement a test, in MBPP's form."""
        return [f"assert {self.name}({given}) == {expected}" for given, expected in self.tests]


def read_programs() -> tuple[Program, ...]:
    """All programs, in the file's order."""
    raw = yaml.safe_load((Path(__file__).parent / "programs.yaml").read_text(encoding="utf-8"))
    return tuple(
        Program(
            row["text"],
            row["call"],
            tuple(row["right"]),
            tuple(row["wrong"]),
            tuple((given, expected) for given, expected in row["tests"]),
        )
        for row in raw
    )
