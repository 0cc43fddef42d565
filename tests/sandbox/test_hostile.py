"""Hostile programs: the right verdict and no effect on the host, in every tier, as root and as an ordinary user."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OWN = Path(__file__).parent / "hostile"  # the headers say attack, task, expected verdict, what the host must observe
Observed = Callable[[str, str, str], dict[str, Any]]

combinations = pytest.mark.parametrize(
    ("user", "tier_name"), [(user, tier) for user in ("root", "ordinary") for tier in "ABC"]
)


def _expected(folder: Path) -> dict[str, bool]:
    sources = {path.name: path.read_text() for path in folder.glob("*.py")}
    return {name: "expect: verdict=pass" in source for name, source in sources.items()}


def _inspect(report: dict[str, Any], folder: Path) -> None:
    """One assert per thing to be seen, so that a failure says which program did what."""
    end = report[""]
    verdicts = {name: seen for name, seen in report.items() if name}
    passed = {name: seen["status"] == "pass" for name, seen in verdicts.items()}
    wrong = {name: verdicts[name] for name, expected in _expected(folder).items() if passed[name] != expected}
    assert wrong == {}
    assert {name: seen for name, seen in verdicts.items() if seen["status"] == "sandbox-error"} == {}
    assert {name: seen["complaints"] for name, seen in verdicts.items() if seen["complaints"]} == {}
    assert [end[what] for what in ("complaints", "processes", "files", "shared_memory", "groups")] == [[]] * 5
    # a thread bomb may use its 32; in tier C the user's other processes count too, and some room is left for them
    assert end["most_tasks"] < (700 if next(iter(verdicts.values()))["tier"] == "C" else 100)
    assert end["most_memory_mb"] < 1024  # two boxes, one candidate of 512 MB
    assert end["harness_mb"] < 200
    assert all(seen["reason"].isprintable() and len(seen["reason"]) <= 200 for seen in verdicts.values())


@combinations
def test_own_hostile_programs(observed: Observed, user: str, tier_name: str) -> None:
    _inspect(observed(user, tier_name, str(OWN)), OWN)


@pytest.mark.data
@combinations
def test_shared_hostile_programs(observed: Observed, data_dir: Path, user: str, tier_name: str) -> None:
    folder = data_dir / "hostile"
    if not folder.is_dir():
        pytest.skip(f"no hostile programs in {data_dir}")
    report = observed(user, tier_name, str(folder.resolve()))
    assert len(report) == len(_expected(folder)) + 1
    _inspect(report, folder)


def test_own_programs_say_what_they_are() -> None:
    pattern = r"# attack: .+\n# task: (known|secret)\n# expect: verdict=(pass|fail)\n# host must observe: .+\n"
    assert [path.name for path in OWN.glob("*.py") if not re.match(pattern, path.read_text())] == []
    assert sum(not passes for passes in _expected(OWN).values()) >= 20
