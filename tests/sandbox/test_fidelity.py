"""Honest programs are judged as plain execution judges them: references, other models' programs, mutants."""

from __future__ import annotations

import ast
import gzip
import json
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.sandbox import Check, Limits, Verdict, check

pytestmark = pytest.mark.data

# setup code, a builtin's name under test, types as arguments, a module of the program's, its class, heavy, matches
PECULIAR = {367, 927, 126, 533, 596, 601, 912, 123}
PECULIAR_SANITIZED = {126, 737, 787, 794}
MUTANTS = 1600
PRELUDE = {"math", "re", "itertools", "sys"}  # what the labels' own runner had imported, as they show


def _full(data_dir: Path) -> dict[int, dict[str, Any]]:
    rows = map(json.loads, (data_dir / "mbpp/mbpp.jsonl").read_text().splitlines())
    return {row["task_id"]: row for row in rows}


def _sanitized(data_dir: Path) -> dict[int, dict[str, Any]]:
    return {row["task_id"]: row for row in json.loads((data_dir / "mbpp/sanitized-mbpp.json").read_text())}


def _reference(row: dict[str, Any]) -> Check:
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports", []))
    return Check(row["code"], tuple(row["test_list"]), setup)


def _not_passed(rows: dict[int, dict[str, Any]], wanted: Callable[[int], bool]) -> dict[int, Verdict]:
    chosen = [number for number in rows if wanted(number)]
    verdicts = check(_reference(rows[number]) for number in chosen)
    return {n: verdict for n, verdict in zip(chosen, verdicts, strict=True) if verdict.status != "pass"}


def test_a_sample_of_references_passes(data_dir: Path) -> None:
    assert _not_passed(_full(data_dir), lambda n: n % 16 == 1 or n in PECULIAR) == {}
    assert _not_passed(_sanitized(data_dir), lambda n: n % 8 == 1 or n in PECULIAR_SANITIZED) == {}


@pytest.mark.slow
def test_all_references_pass(data_dir: Path) -> None:
    full, sanitized = _full(data_dir), _sanitized(data_dir)
    assert (len(full), len(sanitized)) == (974, 427)
    assert _not_passed(full, lambda _: True) == {}
    assert _not_passed(sanitized, lambda _: True) == {}


def _labelled(data_dir: Path) -> Iterator[tuple[Check, bool]]:
    """Each candidate program with its published label, on the tests of both versions."""
    full, sanitized = _full(data_dir), _sanitized(data_dir)
    with gzip.open(data_dir / "mbpp_candidates/mbpp_candidates.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            number = row["task_id"]
            for candidate in row["candidates"]:
                setup = full[number]["test_setup_code"]
                yield Check(candidate["code"], tuple(full[number]["test_list"]), setup), candidate["pass_full"]
                if candidate["pass_sanitized"] is not None:
                    reference = _reference(sanitized[number])
                    yield Check(candidate["code"], reference.tests, reference.setup), candidate["pass_sanitized"]


def _unexplained(pairs: list[tuple[Check, bool]], limits: Limits) -> list[tuple[str, bool, str]]:
    """Disagreements beyond the two known kinds: the labels were made with four modules already imported, and numpy."""
    found = []
    for (item, label), verdict in zip(pairs, check((item for item, _ in pairs), limits=limits), strict=True):
        missing = re.search(r"NameError: name '(\w+)' is not|No module named '(numpy)'", verdict.reason)
        explained = label and missing is not None and (missing[1] in PRELUDE or missing[2])
        if (verdict.status == "pass") != label and not explained:
            found.append((item.program, label, verdict.reason))
    return found


def test_labels_of_a_sample_of_candidates_agree(data_dir: Path) -> None:
    pairs = random.Random(0).sample(list(_labelled(data_dir)), 300)
    assert _unexplained(pairs, Limits(cpu_s=5, wall_s=60)) == []


@pytest.mark.slow
def test_labels_of_all_candidates_agree(data_dir: Path) -> None:
    pairs = list(_labelled(data_dir))
    assert len({item.program for item, _ in pairs}) > 9000
    assert _unexplained(pairs, Limits(cpu_s=15, wall_s=90)) == []


_SWAPS: dict[type, Callable[[], ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


class _Mutator(ast.NodeTransformer):
    """Changes the n-th place that can be changed: an operator, a comparison, a constant, a condition."""

    def __init__(self, place: int) -> None:
        self.left = place

    def visit(self, node: ast.AST) -> ast.AST:
        swapped = _SWAPS.get(type(node))
        number = isinstance(node, ast.Constant) and type(node.value) is int
        if swapped or number:
            self.left -= 1
            if self.left == -1:
                return swapped() if swapped else ast.Constant(node.value + 1)  # type: ignore[attr-defined]
        return self.generic_visit(node)


def _mutants(data_dir: Path, count: int) -> list[Check]:
    rows = [row for number, row in _full(data_dir).items() if number != 123]
    draw = random.Random(1)
    found: dict[tuple[int, str], Check] = {}
    while len(found) < count:
        row = draw.choice(rows)
        mutator = _Mutator(draw.randrange(12))
        with warnings.catch_warnings(action="ignore"):  # references with "\A" in plain strings
            tree = mutator.visit(ast.parse(row["code"]))
        if mutator.left < 0:
            program = ast.unparse(ast.fix_missing_locations(tree))
            found[row["task_id"], program] = Check(program, tuple(row["test_list"]), row["test_setup_code"])
    return list(found.values())


def _disagreements(checks: list[Check]) -> list[tuple[str, bool, Verdict]]:
    jobs = json.dumps([[item.program, item.setup, list(item.tests)] for item in checks])
    script = Path(__file__).parent / "plain_exec.py"
    done = subprocess.run([sys.executable, str(script)], input=jobs, capture_output=True, text=True, check=True)
    plain = json.loads(done.stdout)
    verdicts = check(checks, limits=Limits(cpu_s=1.5, wall_s=60))
    rows = zip(checks, plain, verdicts, strict=True)
    return [(item.program, holds, v) for item, holds, v in rows if (v.status == "pass") != holds]


def test_a_sample_of_mutants_agrees_with_plain_execution(data_dir: Path) -> None:
    assert _disagreements(_mutants(data_dir, 150)) == []


@pytest.mark.slow
def test_mutants_agree_with_plain_execution(data_dir: Path) -> None:
    assert _disagreements(_mutants(data_dir, MUTANTS)) == []
