"""MBPP Best-of-N: problems and the extraction of programs; pools and labels have files of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks._programs import extract_program
from tasks._types import LoadRequest, PoolNeededError, PoolTask, TaskError
from tasks.mbpp_bon import TASK

GONE = object()


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


def test_prompt_is_the_text_and_the_first_test(mbpp: LoadRequest) -> None:
    first, second = TASK.problems(mbpp)
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


def test_without_a_pool_the_three_ways_are_named() -> None:
    with pytest.raises(PoolNeededError) as caught:
        TASK.load(LoadRequest())
    for words in ("pool import mbpp_bon", "pool generate mbpp_bon", "--policy"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{}, {}], ["m.jsonl:2", "task_id 11"]),
        ([{"test_list": []}], ["m.jsonl:1", "'test_list'", "one assert or more"]),
        ([{"test_list": "assert 1"}], ["'test_list'", "list of texts"]),
        ([{"text": ""}], ["'text'", "empty"]),
        ([{"task_id": "11"}], ["'task_id'", "whole number"]),
        ([{"task_id": 600}], ["none of the test problems"]),
        ([{"test_list": GONE}], ["'test_list'", "missing"]),
    ],
)
def test_bad_problems_are_named(write_rows, mbpp_problem, rows: list[dict[str, object]], words: list[str]) -> None:
    made = [{k: v for k, v in mbpp_problem(**{"task_id": 11, **changes}).items() if v is not GONE} for changes in rows]
    with pytest.raises(TaskError) as caught:
        TASK.problems(LoadRequest(file=write_rows("m.jsonl", made)))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_unknown_variant() -> None:
    with pytest.raises(TaskError, match="option 'variant' cannot be 'sanitised': did you mean 'sanitized'"):
        TASK.load(LoadRequest(options={"variant": "sanitised"}))
