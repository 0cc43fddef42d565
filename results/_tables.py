"""Records as Arrow tables: how batches enter DuckDB, which reads them in place under the name `incoming`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from results.records import ExampleRecord, RewardRecord, StoreError, storable

MARKS = {True: 1, False: 0, None: -1}


def dump(value: Any) -> str:
    """A value as the database keeps it: JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def examples_table(examples: Sequence[ExampleRecord]) -> pa.Table:
    """Each example content once: id, prompt (JSON), responses."""
    unique = {e.key: e for e in examples}
    return pa.table(
        {
            "id": pa.array(list(unique), pa.string()),
            "prompt": pa.array([_turns(e) for e in unique.values()], pa.string()),
            "responses": pa.array([[storable(r) for r in e.responses] for e in unique.values()], pa.list_(pa.string())),
        }
    )


def _turns(example: ExampleRecord) -> str:
    return dump([[storable(part) for part in turn] for turn in example.prompt])


def links_table(examples: Sequence[ExampleRecord]) -> pa.Table:
    """The examples as one data set has them: position, labels, weight, ..."""
    texts = pa.list_(pa.string())
    return pa.table(
        {
            "position": pa.array(range(len(examples)), pa.int32()),
            "id": pa.array([e.key for e in examples], pa.string()),
            "example_id": pa.array([storable(e.example_id) for e in examples], pa.string()),
            "subset": pa.array([storable(e.subset) for e in examples], pa.string()),
            "stratum": pa.array([storable(e.stratum) for e in examples], pa.string()),
            "weight": pa.array([e.weight for e in examples], pa.float64()),
            "cluster": pa.array([None if e.cluster is None else storable(e.cluster) for e in examples], pa.string()),
            "labels": pa.array([[MARKS[x] for x in e.labels] for e in examples], pa.list_(pa.int8())),
            "answers": pa.array([[None if a is None else storable(a) for a in e.answers] for e in examples], texts),
            "sources": pa.array([[storable(s) for s in e.sources] for e in examples], texts),
            "reasons": pa.array([[storable(s) for s in e.reasons] for e in examples], texts),
        }
    )


def rewards_table(rewards: Sequence[RewardRecord]) -> pa.Table:
    """One batch of rewards, example by content id. Raises StoreError for what must never be stored."""
    _check(rewards)
    return pa.table(
        {
            "id": pa.array([r.example_key for r in rewards], pa.string()),
            "response": pa.array([r.response for r in rewards], pa.int16()),
            "reward": pa.array([r.reward for r in rewards], pa.float64()),
            "tokens": pa.array([r.tokens for r in rewards], pa.int32()),
            "cut": pa.array([r.cut for r in rewards], pa.bool_()),
            "reason": pa.array([storable(r.reason) for r in rewards], pa.string()),
        }
    )


def _check(rewards: Sequence[RewardRecord]) -> None:
    if len({(r.example_key, r.response) for r in rewards}) != len(rewards):
        raise StoreError("one batch holds two rewards for one response")
    for r in rewards:
        if r.reward is None:
            if not r.reason:
                raise StoreError("an unscored response needs the reason why")
        elif r.reason or not math.isfinite(r.reward):
            raise StoreError(f"a reward must be a finite number without a reason, not {r.reward!r} {r.reason!r}")
