"""MBPP Best-of-N: the formats of pools that others sampled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks._types import LoadRequest, Pool, TaskError
from tasks.mbpp_bon import TASK


def texts(pool: Pool) -> dict[str, list[str]]:
    return {key: [r.text for r in rows] for key, rows in pool.rows.items()}


def test_own_format(mbpp: LoadRequest, write_rows) -> None:
    path = write_rows("p.jsonl", [{"example_id": "11", "responses": [{"text": "a", "source": "s"}, {"text": "b"}]}])
    pool = TASK.read_pool(path, "mine", mbpp)
    assert texts(pool) == {"11": ["a", "b"]}
    assert [r.source for r in pool.rows["11"]] == ["s", ""]


def test_bigcode_generations(mbpp: LoadRequest, tmp_path: Path) -> None:
    path = tmp_path / "generations.json"
    path.write_text(json.dumps([["a", "b"], ["c", "d"]]))
    pool = TASK.read_pool(path, "big", mbpp)
    assert (pool.settings["format"], texts(pool)) == ("bigcode generations", {"11": ["a", "b"], "12": ["c", "d"]})
    path.write_text(json.dumps([["a"]]))
    with pytest.raises(TaskError, match="generations for 1 problems, the task has 2"):
        TASK.read_pool(path, "big", mbpp)
    path.write_text(json.dumps([["a"], "b"]))
    with pytest.raises(TaskError, match=r"entry 1: field 'generations' should be a list of texts"):
        TASK.read_pool(path, "big", mbpp)


def test_evalplus_samples(mbpp: LoadRequest, write_rows) -> None:
    rows = [
        {"task_id": "Mbpp/12", "solution": "x"},
        {"task_id": "Mbpp/11", "solution": "a"},
        {"task_id": "Mbpp/12", "solution": "y"},
        {"task_id": "Mbpp/11", "completion": "b"},
    ]
    pool = TASK.read_pool(write_rows("samples.jsonl", rows), "plus", mbpp)
    assert (pool.settings["format"], texts(pool)) == ("EvalPlus samples", {"12": ["x", "y"], "11": ["a", "b"]})
    with pytest.raises(TaskError, match=r"samples\.jsonl:1: there is no example '600'"):
        TASK.read_pool(write_rows("samples.jsonl", [{"task_id": "Mbpp/600", "solution": "x"}]), "plus", mbpp)


def test_dogerm_output(mbpp: LoadRequest, tmp_path: Path) -> None:
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
    pool = TASK.read_pool(path, "doge", mbpp)
    assert (pool.settings["format"], texts(pool)) == ("DogeRM output", {"12": ["12a", "12b"], "11": ["11a", "11b"]})
    output["0"]["task_id"] = [12, 13]
    path.write_text(json.dumps(output))
    with pytest.raises(TaskError, match="'task_id' should be a list that repeats one whole number"):
        TASK.read_pool(path, "doge", mbpp)
