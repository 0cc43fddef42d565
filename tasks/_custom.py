"""Tasks from a file of the user: `--task-file NAME=FILE`.

JSON Lines (or a JSON array, or Parquet) with {"id", "prompt": text or messages, "responses": [text, ...],
"correct": [true, false or null, ...], "subset"?, "cluster"?}. With exactly one correct response everywhere the
score is an accuracy; otherwise it is Best-of-N.
"""

from __future__ import annotations

from pathlib import Path

from tasks._data import load_file
from tasks._schema import Row
from tasks._types import Example, Metric, Response, TaskData, TaskError


def load_custom(name: str, path: Path) -> TaskData:
    """Read a custom task. Raises TaskError with file, line and field where a row breaks the schema."""
    loaded = load_file(path, name)
    examples: dict[str, Example] = {}
    for row in loaded.rows:
        example = _example(row)
        if example.id in examples:
            raise TaskError(f"{row.where}: id '{example.id}' is used twice: ids must be unique")
        examples[example.id] = example
    one = all(_exactly_one(example) for example in examples.values())
    subsets = dict.fromkeys(example.subset for example in examples.values())
    score = Metric("score", tuple((f"subset/{subset}", None) for subset in subsets))
    return TaskData(
        task=name,
        outcome="accuracy" if one else "best_of_n",
        examples=tuple(examples.values()),
        metrics=(score,) if one else (),
        sources=(loaded.source,),
    )


def _exactly_one(example: Example) -> bool:
    labels = [response.correct for response in example.responses]
    return labels.count(True) == 1 and None not in labels


def _example(row: Row) -> Example:
    texts = row.texts("responses")
    if len(texts) < 2:
        raise row.error("responses", "a list of two texts or more", texts)
    labels = row.items("correct", "a list of true, false or null")
    if not all(label is None or isinstance(label, bool) for label in labels):
        raise row.error("correct", "a list of true, false or null", labels)
    if len(labels) != len(texts):
        raise TaskError(f"{row.where}: field 'correct' has {len(labels)} labels for {len(texts)} responses")
    responses = tuple(Response(text, label) for text, label in zip(texts, labels, strict=True))
    return Example(
        id=row.label("id"),
        prompt=row.prompt(),
        responses=responses,
        subset=_optional(row, "subset") or "all",
        cluster=_optional(row, "cluster"),
    )


def _optional(row: Row, name: str) -> str | None:
    return row.label(name) if row.data.get(name) is not None else None
