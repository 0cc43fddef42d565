"""MBPP Best-of-N: labels are the sandbox's verdicts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import pytest

from tasks._types import LoadRequest, TaskError
from tasks.mbpp_bon import TASK


@dataclass
class FakeCheck:
    program: str
    tests: tuple[str, ...]
    setup: str = ""


@dataclass
class FakeVerdict:
    status: str
    reason: str
    tier: str = "A"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> list[FakeCheck]:
    """A sandbox that runs nothing: a program is its own verdict. The list holds what it was asked."""
    asked: list[FakeCheck] = []

    def check(checks: Iterable[FakeCheck], *, unsafe: bool = False) -> Iterator[FakeVerdict]:
        for one in checks:
            asked.append(one)
            yield FakeVerdict(one.program.strip(), f"because {one.program.strip()}", "unsafe" if unsafe else "A")

    fake = ModuleType("tasks.sandbox")
    fake.Check, fake.check = FakeCheck, check  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tasks.sandbox", fake)
    return asked


STATUSES = ["pass", "fail", "timeout", "memory", "output-limit", "sandbox-error"]


def test_labels_are_the_verdicts(mbpp: LoadRequest, write_rows, sandbox: list[FakeCheck]) -> None:
    rows = [
        {"example_id": "12", "responses": [{"text": "```python\npass\n```"}]},
        {"example_id": "11", "responses": [{"text": status} for status in STATUSES]},
    ]
    pool = TASK.label(TASK.read_pool(write_rows("p.jsonl", rows), "mine", mbpp), mbpp)
    assert [r.correct for r in pool.rows["11"]] == [True, False, False, False, False, None]
    assert pool.rows["12"][0].correct is True
    assert pool.rows["12"][0].reason == "pass: because pass (fenced block; sandbox A)"
    assert pool.rows["11"][2].reason == "timeout: because timeout (no fence: the whole text; sandbox A)"
    assert pool.settings["sandbox"] == "A"
    assert [one.tests[0] for one in sandbox[:2]] == ["assert f12() == 1", "assert f11() == 1"]
    data = TASK.load(LoadRequest(file=mbpp.file, pool=pool))
    assert [example.id for example in data.examples] == ["11", "12"]
    assert data.options == {"variant": "test", "pool": "mine", "sandbox": "A"}
    assert data.missing == (
        "1 programs without a verdict (sandbox-error: because sandbox-error (no fence: the whole text; sandbox A))",
    )


def test_checks_can_run_elsewhere(mbpp: LoadRequest, write_rows) -> None:
    from tasks.sandbox import Verdict

    def elsewhere(checks, *, unsafe):
        assert not unsafe
        yield from (Verdict("pass", "", "B") for _ in checks)

    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "no program"}]}])
    pool = TASK.label(TASK.read_pool(path, "mine", mbpp), replace(mbpp, check=elsewhere))
    assert pool.rows["11"][0].correct
    assert pool.settings["sandbox"] == "B"


def test_unsafe_execution_marks_every_label(mbpp: LoadRequest, write_rows, sandbox: list[FakeCheck]) -> None:
    unsafe = LoadRequest(file=mbpp.file, options={"unsafe_exec": "yes"})
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "pass"}]}])
    pool = TASK.label(TASK.read_pool(path, "mine", unsafe), unsafe)
    assert pool.settings["sandbox"] == "unsafe"
    assert "sandbox unsafe" in pool.rows["11"][0].reason
    assert sandbox


def test_labels_of_another_variant_are_refused(mbpp: LoadRequest, write_rows, sandbox: list[FakeCheck]) -> None:
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "pass"}]}])
    pool = TASK.label(TASK.read_pool(path, "mine", mbpp), mbpp)
    assert sandbox
    assert TASK.load(LoadRequest(file=mbpp.file, pool=pool, options={"variant": "full"})).examples
    rows = [{"task_id": 11, "prompt": "p", "code": "c", "test_imports": [], "test_list": ["assert 1"]}]
    sanitized = LoadRequest(file=write_rows("s.jsonl", rows), pool=pool, options={"variant": "sanitized"})
    with pytest.raises(TaskError, match="labelled with the tests of variant 'test', not 'sanitized'"):
        TASK.load(sanitized)


def test_setup_code_travels_with_the_check(write_rows, mbpp_problem, sandbox: list[FakeCheck]) -> None:
    request = LoadRequest(file=write_rows("m.jsonl", [mbpp_problem(11, test_setup_code="root = Node(1)\r\nx = 2")]))
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "pass"}]}])
    TASK.label(TASK.read_pool(path, "mine", request), request)
    assert sandbox[0].setup == "root = Node(1)\nx = 2"
