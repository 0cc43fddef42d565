"""Our own rows, the ones `--backend replay` reads: {"task", "example_id", "rewards": [r, ...]}."""

from __future__ import annotations

from harness.importing._document import Document, ImportOptions, Joiner, Rewards, ScoresError, number
from results.records import DatasetRecord

SUMMARY = 'JSONL rows {"task", "example_id", "rewards": [...]} in response order'


def matches(document: Document) -> bool:
    return "rewards" in document.first() and "example_id" in document.first()


def read(document: Document, data: DatasetRecord, options: ImportOptions) -> Rewards:  # noqa: ARG001
    """Rows of other tasks are left out; every row is checked."""
    joiner = Joiner(document, data)
    for where, row in document.rows:
        for name, kind in (("task", str), ("example_id", str), ("rewards", list)):
            if not isinstance(row, dict) or not isinstance(row.get(name), kind):
                found = type(row.get(name)).__name__ if isinstance(row, dict) and name in row else "missing"
                raise ScoresError(f"{where}: field '{name}' must be a {kind.__name__}, it is {found}")
        values = [number(where, f"rewards[{i}]", value) for i, value in enumerate(row["rewards"])]
        if row["task"] != data.task:
            continue
        example = joiner.by_id(row["example_id"])
        if example is None:
            joiner.lose(where, f"there is no example '{row['example_id']}'")
        elif example.example_id in joiner.rewards:
            raise ScoresError(f"{where}: {data.task} example '{example.example_id}' appears twice")
        else:
            joiner.add(where, example, values)
    if not joiner.rewards and not joiner.lost:
        others = ", ".join(sorted({row["task"] for _, row in document.rows}))
        raise ScoresError(f"{document.path}: no row is of task {data.task} (the file has: {others})")
    return joiner.finish()
