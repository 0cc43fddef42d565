"""The words of the sandbox: what is checked, within which limits, and what came out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks._types import TaskError

Status = Literal["pass", "fail", "timeout", "memory", "output-limit", "sandbox-error"]
TierName = Literal["A", "B", "C", "unsafe"]


class SandboxError(TaskError):
    """No sandbox, or not the one asked for; the text says what to install or enable."""


_SUMMARIES: dict[str, str] = {
    "A": "namespaces, system call filter, control groups",
    "B": "namespaces, system call filter (no control groups)",
    "C": "Landlock, system call filter, resource limits (no user namespaces)",
    "unsafe": "no sandbox: programs run with the rights of the harness",
}


@dataclass(frozen=True, slots=True)
class Tier:
    """How programs are shut in on this machine, as proven by the canaries of this process."""

    name: TierName
    python: str  # the interpreter in the boxes
    interpreter: str  # its implementation and version
    proc: Literal["mount", "bind", ""] = ""  # how the outer box gets at /proc (bind: inside some containers)

    @property
    def summary(self) -> str:
        """One line for the user."""
        return _SUMMARIES[self.name]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one check may use. CPU decides, the wall clock is looser: a busy machine must not turn passes into fails.

    The 15 CPU seconds are for MBPP 123, whose reference needs 4 to 6 on machines of 2020-2025.
    """

    cpu_s: float = 15.0  # processor seconds of the candidate's process, all threads
    wall_s: float = 90.0
    memory_mb: int = 1024  # address space
    threads: int = 32
    scratch_mb: int = 16  # the one writable folder, tiers A and B; also the largest file
    output_kb: int = 4096  # one value that a tested function returns

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise TaskError(f"sandbox limit {name} is {value}: give a number above 0")
        if self.wall_s < self.cpu_s:
            raise TaskError(f"sandbox limit wall_s ({self.wall_s:g}) is below cpu_s ({self.cpu_s:g}): make it larger")
        if self.memory_mb < 128:
            raise TaskError(f"sandbox limit memory_mb is {self.memory_mb}: the interpreter alone needs 128")

    def for_box(self, threads: int | None) -> dict[str, Any]:
        """The same in bytes, as the boxes read it."""
        return {
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "memory_bytes": self.memory_mb << 20,
            "threads": threads,
            "scratch_bytes": self.scratch_mb << 20,
            "output_bytes": self.output_kb << 10,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One program and the asserts it must hold. `setup` runs after the program and before the tests (MBPP 367, 927)."""

    program: str
    tests: tuple[str, ...]
    setup: str = ""

    def key(self, limits: Limits, interpreter: str) -> str:
        """Hex digest of all that a verdict depends on: checks with equal keys need to be judged only once."""
        parts = [self.program, list(self.tests), self.setup, asdict(limits), interpreter]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a check. Only "pass" is a pass; "sandbox-error" is nobody's fail and leaves a run incomplete."""

    status: Status
    reason: str  # one line; text of the program's is cut and stripped of control characters
    tier: TierName  # "unsafe": ran without a sandbox
    passed: int = 0  # tests that held before it stopped
    cpu_s: float = 0.0
    wall_s: float = 0.0
    interpreter: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
