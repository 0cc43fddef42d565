"""Runs made by hand: `make_run` turns nested lists into the arrays that the store would give."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from results.records import RunRewards

RunMaker = Callable[..., RunRewards]


def _flat(nested: Sequence[Sequence[Any]]) -> list[Any]:
    return [item for row in nested for item in row]


@pytest.fixture
def make_run() -> RunMaker:
    """make_run(rewards, labels, ...) with one inner list an example; None as a reward means unscored."""

    def make(
        rewards: Sequence[Sequence[float | None]],
        labels: Sequence[Sequence[int]],
        subsets: Sequence[str] | None = None,
        *,
        outcome: str = "accuracy",
        metrics: Sequence[Mapping[str, Any]] = (),
        answers: Sequence[Sequence[str | None]] | None = None,
        clusters: Sequence[str | None] | None = None,
        ids: Sequence[str] | None = None,
        cut: Sequence[Sequence[bool]] | None = None,
        task: str = "toy",
    ) -> RunRewards:
        n, sizes = len(rewards), [len(row) for row in rewards]
        raw = _flat(rewards)
        return RunRewards(
            run={},
            task=task,
            outcome=outcome,
            metrics=metrics,
            example_ids=list(ids) if ids is not None else [str(i) for i in range(n)],
            subsets=list(subsets) if subsets is not None else ["all"] * n,
            strata=[""] * n,
            clusters=list(clusters) if clusters is not None else [None] * n,
            weights=np.full(n, 1 / max(n, 1)),
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            rewards=np.array([np.nan if r is None else r for r in raw], dtype=np.float64),
            scored=np.array([r is not None for r in raw], dtype=bool),
            labels=np.array(_flat(labels), dtype=np.int8),
            answers=_flat(answers) if answers is not None else [None] * len(raw),
            cut=np.array(_flat(cut), dtype=bool) if cut is not None else np.zeros(len(raw), bool),
        )

    return make


def _synthetic() -> ModuleType:
    path = Path(__file__).parent.parent / "support" / "synthetic_site.py"
    spec = importlib.util.spec_from_file_location("synthetic_site", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """Made-up databases: tests/support/synthetic_site.py."""
    return _synthetic()
