"""MBPP Best-of-N: problems, program extraction, pool formats, and labels from the sandbox's verdicts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks._programs import extract_program
from tasks._types import LoadRequest, Pool, PoolNeededError, PoolTask, TaskError
from tasks.mbpp_bon import TASK

FULL = LoadRequest(options={"variant": "full"})


def problem(task_id: int, **changes: object) -> dict[str, object]:
    base = {
        "task_id": task_id,
        "text": f"Write f{task_id}.",
        "code": "def f():\r\n  return 1",
        "test_setup_code": "",
        "test_list": [f"assert f{task_id}() == 1", f"assert f{task_id}(1) == 2"],
        "challenge_test_list": [],
    }
    return base | changes


@pytest.fixture
def request_(write_rows) -> LoadRequest:
    return LoadRequest(file=write_rows("mbpp.jsonl", [problem(i) for i in (12, 11, 10, 600)]))


def test_it_is_a_pool_task() -> None:
    assert isinstance(TASK, PoolTask)
    sampling = TASK.sampling
    assert (sampling.n, sampling.temperature, sampling.top_p, sampling.max_tokens) == (16, 0.2, 0.95, 512)


@pytest.mark.data
def test_published_problems(data_dir: Path) -> None:
    def tests(variant: str):
        return TASK.tests(LoadRequest(data_dir=data_dir, options={"variant": variant}))

    full, sanitized = tests("full"), tests("sanitized")
    assert list(tests("test")) == [str(i) for i in range(11, 511)]
    assert (len(full), len(sanitized)) == (974, 427)
    assert sum(full[key].asserts != sanitized[key].asserts for key in sanitized) == 127
    assert {key for key, found in full.items() if "Node" in found.setup} == {"367", "927"}
    assert not any("\r\n" in found.reference + found.setup for found in full.values())


def test_prompt_is_the_text_and_the_first_test(request_: LoadRequest) -> None:
    first, second = TASK.problems(request_)
    assert (first.id, second.id) == ("11", "12")
    assert first.prompt[0].content == '"""\nWrite f11.\nassert f11() == 1\n"""'


def test_sanitized_variant(tmp_path: Path) -> None:
    rows = [
        {
            "task_id": 2,
            "prompt": "p",
            "code": "c",
            "test_imports": ["import math", "import re"],
            "test_list": ["assert 1"],
        }
    ]
    path = tmp_path / "sanitized-mbpp.json"
    path.write_text(json.dumps(rows))
    tests = TASK.tests(LoadRequest(file=path, options={"variant": "sanitized"}))
    assert (tests["2"].setup, tests["2"].asserts) == ("import math\nimport re", ("assert 1",))


@pytest.mark.parametrize(
    ("text", "code", "rule"),
    [
        ("def f():\n    return 1\n", "def f():\n    return 1\n", "no fence: the whole text"),
        ("Sure:\n```python\na = 1\n```\nDone.", "a = 1", "fenced block"),
        ("```\na = 1\n```", "a = 1", "fenced block"),
        ("```Python3 title=x\na = 1\n```", "a = 1", "fenced block"),
        ("~~~py\na = 1\n~~~", "a = 1", "fenced block"),
        ("Sure! ```python\na = 1\n```", "a = 1", "fenced block"),
        ("```python def f(): return 1``` as asked", "def f(): return 1", "fenced block"),
        ("```python\na = 1\n```\nor\n```python\nb = 2\n```", "a = 1", "fenced block, 1 of 2"),
        ("```\n```\n```python\nb = 2\n```", "b = 2", "fenced block, 2 of 2"),
        ("```python\na = 1", "a = 1", "fenced block, not closed"),
        ("```python\nreturn 1```\nbye", "return 1", "fenced block"),
        ("1. do\n   ```python\n   def f():\n       return 1\n   ```", "def f():\n    return 1", "fenced block"),
        ("````\na = '''\n```\n'''\n````", "a = '''\n```\n'''", "fenced block"),
        ("```python\r\na = 1\r\nb = 2\r\n```", "a = 1\nb = 2", "fenced block"),
        ("```python\n```", "", "empty fenced block"),
        ("", "", "empty text"),
    ],
)
def test_program_extraction(text: str, code: str, rule: str) -> None:
    found = extract_program(text)
    assert (found.code, found.rule) == (code, rule)


@given(st.text(alphabet=st.sampled_from("`~ \n\tpyton3ab=1"), max_size=80))
def test_extraction_takes_any_text(text: str) -> None:
    found = extract_program(text)
    assert found.rule
    assert "```" in text or "~~~" in text or found.code == text


@given(st.text(alphabet=st.characters(exclude_characters="`~\r", exclude_categories=("Cs",)), min_size=1))
def test_a_fenced_program_comes_back(code: str) -> None:
    if code.strip() and not code[0].isspace() and not code[-1].isspace():
        assert (
            extract_program(f"Here you go.\n```python\n{code}\n```\nEnjoy!").code.splitlines()[0]
            == code.splitlines()[0]
        )


def test_long_runs_end() -> None:
    for text in ("`" * 100_000 + "x", "```python\n" + " " * 100_000 + "x", "```python\n" + "`" * 100_000 + "x"):
        assert extract_program(text).rule


def texts(pool: Pool) -> dict[str, list[str]]:
    return {key: [r.text for r in rows] for key, rows in pool.rows.items()}


def test_own_format(request_: LoadRequest, write_rows) -> None:
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "a", "source": "s"}, {"text": "b"}]}])
    pool = TASK.read_pool(path, "mine", request_)
    assert texts(pool) == {"11": ["a", "b"]}
    assert [r.source for r in pool.rows["11"]] == ["s", ""]


def test_bigcode_generations(request_: LoadRequest, tmp_path: Path) -> None:
    path = tmp_path / "generations.json"
    path.write_text(json.dumps([["a", "b"], ["c", "d"]]))
    pool = TASK.read_pool(path, "big", request_)
    assert (pool.settings["format"], texts(pool)) == ("bigcode generations", {"11": ["a", "b"], "12": ["c", "d"]})
    path.write_text(json.dumps([["a"]]))
    with pytest.raises(TaskError, match="generations for 1 problems, the task has 2"):
        TASK.read_pool(path, "big", request_)
    path.write_text(json.dumps([["a"], "b"]))
    with pytest.raises(TaskError, match=r"entry 1: field 'generations' should be a list of texts"):
        TASK.read_pool(path, "big", request_)


def test_evalplus_samples(request_: LoadRequest, write_rows) -> None:
    rows = [
        {"task_id": "Mbpp/12", "solution": "x"},
        {"task_id": "Mbpp/11", "solution": "a"},
        {"task_id": "Mbpp/12", "solution": "y"},
        {"task_id": "Mbpp/11", "completion": "b"},
    ]
    pool = TASK.read_pool(write_rows("samples.jsonl", rows), "plus", request_)
    assert (pool.settings["format"], texts(pool)) == ("EvalPlus samples", {"12": ["x", "y"], "11": ["a", "b"]})
    with pytest.raises(TaskError, match=r"samples\.jsonl:1: there is no example '600'"):
        TASK.read_pool(write_rows("samples.jsonl", [{"task_id": "Mbpp/600", "solution": "x"}]), "plus", request_)


def test_dogerm_output(request_: LoadRequest, tmp_path: Path) -> None:
    """run_mbpp.py repeats every column of the data set once per sample."""
    output = {
        str(i): {
            "task_id": [task] * 2,
            "text": ["t"] * 2,
            "test_list": [["a"]] * 2,
            "outputs": [f"{task}a", f"{task}b"],
        }
        for i, task in enumerate((12, 11))
    }
    path = tmp_path / "llama2-chat.json"
    path.write_text(json.dumps(output, indent=4))
    pool = TASK.read_pool(path, "doge", request_)
    assert (pool.settings["format"], texts(pool)) == ("DogeRM output", {"12": ["12a", "12b"], "11": ["11a", "11b"]})
    output["0"]["task_id"] = [12, 13]
    path.write_text(json.dumps(output))
    with pytest.raises(TaskError, match="'task_id' should be a list that repeats one whole number"):
        TASK.read_pool(path, "doge", request_)


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


def test_labels_are_the_verdicts(request_: LoadRequest, write_rows, sandbox: list[FakeCheck]) -> None:
    rows = [
        {"example_id": "12", "responses": [{"text": "```python\npass\n```"}]},
        {"example_id": "11", "responses": [{"text": status} for status in STATUSES]},
    ]
    pool = TASK.label(TASK.read_pool(write_rows("p.jsonl", rows), "mine", request_), request_)
    assert [r.correct for r in pool.rows["11"]] == [True, False, False, False, False, None]
    assert pool.rows["12"][0].correct is True
    assert pool.rows["12"][0].reason == "pass: because pass (fenced block; sandbox A)"
    assert pool.rows["11"][2].reason == "timeout: because timeout (no fence: the whole text; sandbox A)"
    assert pool.settings["sandbox"] == "A"
    assert [one.tests[0] for one in sandbox[:2]] == ["assert f12() == 1", "assert f11() == 1"]
    data = TASK.load(LoadRequest(file=request_.file, pool=pool))
    assert [example.id for example in data.examples] == ["11", "12"]
    assert data.options == {"variant": "test", "pool": "mine", "sandbox": "A"}
    assert data.missing == (
        "1 programs without a verdict (sandbox-error: because sandbox-error (no fence: the whole text; sandbox A))",
    )


def test_checks_can_run_elsewhere(request_: LoadRequest, write_rows) -> None:
    from tasks.sandbox import Verdict

    def elsewhere(checks, *, unsafe):
        assert not unsafe
        yield from (Verdict("pass", "", "B") for _ in checks)

    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "no program"}]}])
    pool = TASK.label(TASK.read_pool(path, "mine", request_), replace(request_, check=elsewhere))
    assert pool.rows["11"][0].correct
    assert pool.settings["sandbox"] == "B"


def test_unsafe_execution_marks_every_label(request_: LoadRequest, write_rows, sandbox: list[FakeCheck]) -> None:
    unsafe = LoadRequest(file=request_.file, options={"unsafe_exec": "yes"})
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "pass"}]}])
    pool = TASK.label(TASK.read_pool(path, "mine", unsafe), unsafe)
    assert pool.settings["sandbox"] == "unsafe"
    assert "sandbox unsafe" in pool.rows["11"][0].reason
    assert sandbox


def test_labels_of_another_variant_are_refused(request_: LoadRequest, write_rows, sandbox: list[FakeCheck]) -> None:
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "pass"}]}])
    pool = TASK.label(TASK.read_pool(path, "mine", request_), request_)
    assert sandbox
    assert TASK.load(LoadRequest(file=request_.file, pool=pool, options={"variant": "full"})).examples
    rows = [{"task_id": 11, "prompt": "p", "code": "c", "test_imports": [], "test_list": ["assert 1"]}]
    sanitized = LoadRequest(file=write_rows("s.jsonl", rows), pool=pool, options={"variant": "sanitized"})
    with pytest.raises(TaskError, match="labelled with the tests of variant 'test', not 'sanitized'"):
        TASK.load(sanitized)


def test_setup_code_travels_with_the_check(write_rows, sandbox: list[FakeCheck]) -> None:
    request = LoadRequest(file=write_rows("m.jsonl", [problem(11, test_setup_code="root = Node(1)\r\nx = 2")]))
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "pass"}]}])
    TASK.label(TASK.read_pool(path, "mine", request), request)
    assert sandbox[0].setup == "root = Node(1)\nx = 2"


def test_without_a_pool_the_three_ways_are_named() -> None:
    with pytest.raises(PoolNeededError) as caught:
        TASK.load(LoadRequest())
    for words in ("pool import mbpp_bon", "pool generate mbpp_bon", "--policy"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([problem(11), problem(11)], ["m.jsonl:2", "task_id 11"]),
        ([problem(11, test_list=[])], ["m.jsonl:1", "'test_list'", "one assert or more"]),
        ([problem(11, test_list="assert 1")], ["'test_list'", "list of texts"]),
        ([problem(11, text="")], ["'text'", "empty"]),
        ([problem("11")], ["'task_id'", "whole number"]),  # type: ignore[arg-type]
        ([problem(600)], ["none of the test problems"]),
        ([{"task_id": 11, "prompt": "x"}], ["'test_list'", "missing"]),
    ],
)
def test_bad_problems_are_named(write_rows, rows: list[dict[str, object]], words: list[str]) -> None:
    with pytest.raises(TaskError) as caught:
        TASK.problems(LoadRequest(file=write_rows("m.jsonl", rows)))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_unknown_variant() -> None:
    with pytest.raises(TaskError, match="option 'variant' cannot be 'sanitised': did you mean 'sanitized'"):
        TASK.load(LoadRequest(options={"variant": "sanitised"}))
