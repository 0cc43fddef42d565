"""What only the page asks of the store: the texts of a data set's examples, streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from results.store import Store

BATCH = 500  # rows in memory at a time; an example may hold many long responses


@dataclass(frozen=True, slots=True)
class ExampleText:
    """One example as a reader sees it; the lists have one item a response."""

    example_id: str
    prompt: list[list[str]]  # [role, content]
    responses: list[str]
    labels: list[int]  # 1 correct, 0 wrong, -1 unknown
    answers: list[str | None]
    sources: list[str]
    reasons: list[str]
    subset: str


def example_texts(store: Store, dataset_key: int) -> Iterator[ExampleText]:
    """Every example of a data set (`dataset_key` of a run), in its order."""
    cursor = store.sql.cursor()  # its own, so that other queries may run in between
    cursor.execute(
        "SELECT d.example_id, e.prompt, e.responses, d.labels, d.answers, d.sources, d.reasons, d.subset"
        " FROM dataset_examples d JOIN examples e ON e.key = d.example WHERE d.dataset = ? ORDER BY d.position",
        [dataset_key],
    )
    while rows := cursor.fetchmany(BATCH):
        for example_id, prompt, *rest in rows:
            yield ExampleText(example_id, json.loads(prompt), *rest)
