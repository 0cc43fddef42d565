"""From what tasks give (TaskData) to what results keep (DatasetRecord), and pools likewise. Pure translation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from harness._environment import mask
from leaderboard.metrics import example_weights
from results.pools import PoolRecord, PoolRow, extend_pool, load_pool, pending
from results.records import DatasetRecord, ExampleRecord, RunRewards
from results.store import Store
from tasks._types import Example, LoadRequest, Pool, PoolTask, Response, Source, TaskData


def dataset_record(data: TaskData, *, limit: int | None = None) -> DatasetRecord:
    """The record of a loaded task; `partial` says why a run on it is partial."""
    reasons = []
    if data.missing:
        reasons.append(f"missing: {', '.join(data.missing)}")
    if limit is not None:
        reasons.append(f"--limit {limit}")
    record = DatasetRecord(
        task=data.task,
        outcome=data.outcome,
        examples=[_example(example) for example in data.examples],
        metrics=[{"key": m.key, "parts": [list(p) for p in m.parts], "outcome": m.outcome} for m in data.metrics],
        sources=[_source(source) for source in data.sources],
        options=dict(data.options),
        missing=list(data.missing),
        notes=list(data.notes),
        partial="; ".join(reasons),
    )
    weights = example_weights(unscored_rewards(record), "score")
    examples = [replace(e, weight=float(w)) for e, w in zip(record.examples, weights, strict=True)]
    return replace(record, examples=examples)


def _example(example: Example) -> ExampleRecord:
    return ExampleRecord(
        example_id=example.id,
        prompt=[(m.role, m.content) for m in example.prompt],
        responses=[r.text for r in example.responses],
        labels=[r.correct for r in example.responses],
        answers=[r.answer for r in example.responses],
        sources=[r.source for r in example.responses],
        reasons=[r.reason for r in example.responses],
        subset=example.subset,
        stratum=example.stratum,
        weight=0.0,
        cluster=example.cluster,
    )


def unscored_rewards(record: DatasetRecord) -> RunRewards:
    """A data set in the shape that metrics read, with zero for every reward: enough to ask for weights."""
    marks = {True: 1, False: 0, None: -1}
    labels = [marks[label] for e in record.examples for label in e.labels]
    return RunRewards(
        run={},
        task=record.task,
        outcome=record.outcome,
        metrics=record.metrics,
        example_ids=[e.example_id for e in record.examples],
        subsets=[e.subset for e in record.examples],
        strata=[e.stratum for e in record.examples],
        clusters=[e.cluster for e in record.examples],
        weights=np.zeros(len(record.examples)),
        offsets=np.concatenate([[0], np.cumsum([len(e.labels) for e in record.examples])]).astype(np.int64),
        rewards=np.zeros(len(labels)),
        scored=np.ones(len(labels), dtype=np.bool_),
        labels=np.asarray(labels, dtype=np.int8),
        answers=[answer for e in record.examples for answer in e.answers],
        cut=np.zeros(len(labels), dtype=np.bool_),
    )


def pool_record(pool: Pool) -> PoolRecord:
    """A labelled pool as the store keeps it."""
    rows = [
        PoolRow(example_id, i, r.text, r.source, r.correct, r.answer, r.reason)
        for example_id, responses in pool.rows.items()
        for i, r in enumerate(responses)
    ]
    return PoolRecord(pool.task, pool.name, rows, _source(pool.source), dict(pool.settings))


def _source(source: Source) -> dict[str, Any]:
    """Where bytes came from, without the secrets that a path or URL may carry."""
    return {**asdict(source), "location": mask(source.location)}


def label_and_store(store: Store, task: PoolTask, pool: Pool, request: LoadRequest, batch: int = 250) -> Pool:
    """Label a pool and store it, `batch` examples at a time; what an interrupted call stored is not labelled again.

    Returns the pool as stored.
    """
    record = pool_record(pool)
    left = list(dict.fromkeys(row.example_id for row in pending(store, record)))

    learned: dict[str, str] = {}  # what labelling adds to the settings: the sandbox's tier, the variant

    def labelled() -> Iterator[Sequence[PoolRow]]:
        for start in range(0, len(left), batch):
            part = {example_id: pool.rows[example_id] for example_id in left[start : start + batch]}
            done = task.label(replace(pool, rows=part), request)
            learned.update({key: value for key, value in done.settings.items() if key not in pool.settings})
            yield pool_record(done).rows

    extend_pool(store, record, labelled())
    stored = load_pool(store, pool.task, pool.name)
    if stored is None:
        return pool
    if learned:
        stored = replace(stored, settings={**stored.settings, **learned})
        extend_pool(store, stored, [])
    return pool_of(stored)


def pool_of(record: PoolRecord) -> Pool:
    """A stored pool as tasks read it."""
    rows: dict[str, list[Response]] = {}
    for row in record.rows:
        rows.setdefault(row.example_id, []).append(Response(row.text, row.correct, row.answer, row.source, row.reason))
    frozen = {example_id: tuple(responses) for example_id, responses in rows.items()}
    return Pool(record.task, record.name, frozen, Source(**dict(record.source)), record.settings)
