"""Small files in the published schemas, and a tiny evaluator of metric trees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks._types import LoadRequest, Metric

WriteRows = Callable[..., Path]


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Write rows as JSON Lines under tmp_path and return the file."""

    def write(name: str, rows: Iterable[Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def mbpp_problem() -> Callable[..., dict[str, object]]:
    """mbpp_problem(11, ...) -> one row of mbpp.jsonl, fields changed at will."""

    def make(task_id: int, **changes: object) -> dict[str, object]:
        base = {
            "task_id": task_id,
            "text": f"Write f{task_id}.",
            "code": "def f():\r\n  return 1",
            "test_setup_code": "",
            "test_list": [f"assert f{task_id}() == 1", f"assert f{task_id}(1) == 2"],
            "challenge_test_list": [],
        }
        return base | changes

    return make


@pytest.fixture
def mbpp(write_rows: WriteRows, mbpp_problem: Callable[..., dict[str, object]]) -> LoadRequest:
    """Four problems of MBPP, two of them of the test split (11 and 12)."""
    return LoadRequest(file=write_rows("mbpp.jsonl", [mbpp_problem(i) for i in (12, 11, 10, 600)]))


@pytest.fixture
def evaluate() -> Callable[[Iterable[Metric], Mapping[str, float], Mapping[str, int]], dict[str, float]]:
    """Every metric of a tree from subset accuracies and counts: the definition in `Metric`, spelled out."""

    def run(metrics: Iterable[Metric], accuracy: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
        tree = {metric.key: metric for metric in metrics}

        def size(key: str) -> int:
            if key.startswith("subset/"):
                return counts.get(key.removeprefix("subset/"), 0)
            return sum(size(part) for part, _ in tree[key].parts)

        def value(key: str) -> float | None:
            if key.startswith("subset/"):
                return accuracy.get(key.removeprefix("subset/"))
            total = weight = 0.0
            for part, w in tree[key].parts:
                inner = value(part)
                if inner is not None:
                    share = size(part) if w is None else w
                    total, weight = total + share * inner, weight + share
            return total / weight if weight else None

        return {key: found for key in tree if (found := value(key)) is not None}

    return run
