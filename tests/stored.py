"""Small records for tests of the results store, written out by hand."""

from __future__ import annotations

from typing import Any

from results.records import CandidateRecord, DatasetRecord, ExampleRecord, ProtocolRecord, RewardRecord
from results.store import Store


def example(number: int, **changes: Any) -> ExampleRecord:
    """A preference pair; its first response is the correct one."""
    values: dict[str, Any] = {
        "example_id": str(number), "prompt": [("user", f"question {number}")],
        "responses": [f"right {number}", f"wrong {number}"], "labels": [True, False], "answers": [None, None],
        "sources": ["a", "b"], "reasons": ["", ""], "subset": "s", "stratum": "", "weight": 1.0, "cluster": None,
    }  # fmt: skip
    return ExampleRecord(**{**values, **changes})


def dataset(count: int = 3, **changes: Any) -> DatasetRecord:
    """`count` pairs of a task named pairs."""
    metrics = [{"key": "score", "parts": [["subset/s", None]], "outcome": "accuracy"}]
    values: dict[str, Any] = {
        "task": "pairs", "outcome": "accuracy", "examples": [example(i) for i in range(count)], "metrics": metrics,
    }  # fmt: skip
    return DatasetRecord(**{**values, **changes})


def rewards(data: DatasetRecord, offset: float = 0.0) -> list[RewardRecord]:
    """A reward for every response: 2 * example + response + offset."""
    return [RewardRecord(e.key, r, 2.0 * i + r + offset, 5) for i, e in enumerate(data.examples) for r in (0, 1)]


def fill(store: Store, data: DatasetRecord, name: str = "m", *, offset: float = 0.0, finish: bool = True) -> int:
    """One candidate's run with all its rewards; returns the run's key."""
    candidate = store.add_candidate(CandidateRecord(f"id of {name}", name, "checkpoint"))
    protocol = store.add_protocol(ProtocolRecord({"backend": "fake"}))
    key = store.add_dataset(data)
    run = store.start_run(candidate, protocol, key, store.add_environment({}), seed=0, command="test")
    store.add_rewards(candidate, protocol, rewards(data, offset))
    if finish:
        store.finish_run(run, "complete")
    return run
