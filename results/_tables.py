"""Records as Arrow tables: how batches enter DuckDB, which reads them in place under the name `incoming`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from results.records import ExampleRecord, storable

MARKS = {True: 1, False: 0, None: -1}


def dump(value: Any) -> str:
    """A value as the database keeps it: JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def examples_table(keys: Sequence[int], examples: Sequence[ExampleRecord]) -> pa.Table:
    """Contents of examples: key, id, prompt (JSON), responses."""
    return pa.table(
        {
            "key": pa.array(keys, pa.int32()),
            "id": pa.array([e.key for e in examples], pa.string()),
            "prompt": pa.array([_turns(e) for e in examples], pa.string()),
            "responses": pa.array([[storable(r) for r in e.responses] for e in examples], pa.list_(pa.string())),
        }
    )


def _turns(example: ExampleRecord) -> str:
    return dump([[storable(part) for part in turn] for turn in example.prompt])


def links_table(positions: Sequence[int], examples: Sequence[ExampleRecord], keys: Sequence[int]) -> pa.Table:
    """The examples (with these keys) as one data set has them: position, key, labels, weight, ..."""
    texts = pa.list_(pa.string())
    return pa.table(
        {
            "position": pa.array(positions, pa.int32()),
            "example": pa.array(keys, pa.int32()),
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
