"""From what tasks give (TaskData) to what results keep (DatasetRecord), and pools likewise. Pure translation."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from harness._environment import mask
from leaderboard.metrics import example_weights
from results.pools import (
    PoolRecord,
    PoolRow,
    extend_pool,
    find_pool,
    load_pool,
    pending,
    pool_examples,
    pool_labelled,
    pool_rows,
)
from results.records import DatasetRecord, ExampleRecord, RunRewards, dataset_key, example_content
from results.store import Store
from tasks._types import Example, LoadRequest, Pool, PoolTask, Response, Source, TaskData

_MARKS = {True: 1, False: 0, None: -1}


def dataset_record(data: TaskData, *, limit: int | None = None) -> DatasetRecord:
    """The record of a loaded task; `partial` says why a run on it is partial.

    One pass over the examples finds its key, theirs, and their weights in `score`; texts are read again when needed.
    """
    reasons = []
    if data.missing:
        reasons.append(f"missing: {', '.join(data.missing)}")
    if limit is not None:
        reasons.append(f"--limit {limit}")
    metrics = [{"key": m.key, "parts": [list(p) for p in m.parts], "outcome": m.outcome} for m in data.metrics]
    survey = _Survey()
    key = dataset_key(data.task, data.outcome, survey.rows(map(_example, data.examples)), metrics)
    weights = example_weights(survey.unscored(data.task, data.outcome, metrics), "score")
    record = DatasetRecord(
        task=data.task,
        outcome=data.outcome,
        examples=Records(data.examples, survey.keys, weights),
        metrics=metrics,
        sources=[_source(source) for source in data.sources],
        options=dict(data.options),
        missing=list(data.missing),
        notes=list(data.notes),
        partial="; ".join(reasons),
    )
    return record.keyed(key)


class Records(Sequence[ExampleRecord]):
    """Examples as they are stored, made when they are asked for; of each its key and weight are held."""

    def __init__(self, examples: Sequence[Example], keys: Sequence[bytes], weights: npt.NDArray[np.float64]) -> None:
        self._examples, self._keys, self._weights = examples, keys, weights

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[ExampleRecord]:
        for example, key, weight in zip(self._examples, self._keys, self._weights, strict=True):
            yield _example(example, weight).keyed(key.hex())

    @overload
    def __getitem__(self, index: int) -> ExampleRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> ExampleRecord | Records:
        if isinstance(index, slice):
            return Records(self._examples[index], self._keys[index], self._weights[index])
        return _example(self._examples[index], self._weights[index])


def _example(example: Example, weight: float = 0.0) -> ExampleRecord:
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
        weight=float(weight),
        cluster=example.cluster,
    )


class _Survey:
    """What one pass over a data set's examples leaves: keys, and labels in the shape that metrics read."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._subsets: list[str] = []
        self._clusters: list[str | None] = []
        self._offsets, self._labels = array("q", [0]), array("b")

    def rows(self, examples: Iterable[ExampleRecord]) -> Iterator[list[Any]]:
        """The examples' contents, as they enter the data set's key."""
        for e in examples:
            self.keys.append(bytes.fromhex(e.key))
            self._subsets.append(e.subset)
            self._clusters.append(e.cluster)
            self._labels.extend(_MARKS[label] for label in e.labels)
            self._offsets.append(len(self._labels))
            yield example_content(e)

    def unscored(self, task: str, outcome: str, metrics: Sequence[Mapping[str, Any]]) -> RunRewards:
        """Zero for every reward and no answers or names: enough to ask for the examples' weights."""
        responses = len(self._labels)
        return RunRewards(
            run={},
            task=task,
            outcome=outcome,
            metrics=metrics,
            example_ids=[""] * len(self.keys),
            subsets=self._subsets,
            strata=[""] * len(self.keys),
            clusters=self._clusters,
            weights=np.zeros(len(self.keys)),
            offsets=np.asarray(self._offsets),
            rewards=np.zeros(responses),
            scored=np.ones(responses, dtype=np.bool_),
            labels=np.asarray(self._labels),
            answers=[None] * responses,
            cut=np.zeros(responses, dtype=np.bool_),
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
    """A stored pool as tasks read it, in memory."""
    return replace(_without_rows(record), rows=_responses(record.rows))


def stored_pool(store: Store, task: str, name: str) -> Pool | None:
    """A finished pool of an open store as tasks read it: its responses are read when they are asked for."""
    found = find_pool(store, task, name)
    return None if found is None else replace(_without_rows(found[1]), rows=PoolResponses(store, found[0]))


class PoolResponses(Mapping[str, tuple[Response, ...]]):
    """Responses of a pool of an open store by example (tasks.StoredRows); only the examples' ids are held."""

    def __init__(self, store: Store, key: int) -> None:
        self._store, self._key = store, key
        self._ids = dict.fromkeys(pool_examples(store, key))

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, example_id: object) -> bool:
        return example_id in self._ids

    def __getitem__(self, example_id: str) -> tuple[Response, ...]:
        return self.many([example_id])[example_id]

    @property
    def labelled(self) -> bool:
        """StoredRows.labelled."""
        return pool_labelled(self._store, self._key)

    def many(self, ids: Sequence[str]) -> Mapping[str, tuple[Response, ...]]:
        """StoredRows.many."""
        self._store.trim()
        return _responses(pool_rows(self._store, self._key, ids))


def _without_rows(record: PoolRecord) -> Pool:
    return Pool(record.task, record.name, {}, Source(**dict(record.source)), record.settings)


def _responses(rows: Sequence[PoolRow]) -> dict[str, tuple[Response, ...]]:
    found: dict[str, list[Response]] = {}
    for row in rows:
        found.setdefault(row.example_id, []).append(Response(row.text, row.correct, row.answer, row.source, row.reason))
    return {example_id: tuple(responses) for example_id, responses in found.items()}
