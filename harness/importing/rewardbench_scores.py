"""reward-bench's per-prompt results (`eval-set-scores/ORG/MODEL.json`): columns of equal length in one object.

Rows are joined by (subset, id) and, where the file holds the texts, checked against the task's responses: another
edition of the data has other ids, and would otherwise be joined wrongly without a word.
"""

from __future__ import annotations

from typing import Any

from harness.importing._document import Document, ImportOptions, Joiner, Rewards, ScoresError, number, plain
from results.records import DatasetRecord, ExampleRecord
from tasks._schema import brief

SUMMARY = "reward-bench eval-set-scores JSON (columns id, subset, scores_chosen, scores_rejected)"
COLUMNS = ("id", "subset", "scores_chosen", "scores_rejected")


def matches(document: Document) -> bool:
    whole = document.whole()
    return "scores_chosen" in whole or ("results" in whole and "subset" in whole)


def read(document: Document, data: DatasetRecord, options: ImportOptions) -> Rewards:  # noqa: ARG001
    columns = _columns(document)
    joiner = Joiner(document, data)
    for i, example_id in enumerate(columns["id"]):
        where = f"{document.path} row {i + 1}"
        example, subset = joiner.by_id(example_id), columns["subset"][i]
        if example is None or example.subset != subset:
            joiner.lose(where, f"no example with id {brief(example_id)} in subset {brief(subset)}")
            continue
        _same_texts(where, example, document.whole(), i)
        names = ("scores_chosen", "scores_rejected")
        values = [number(where, name, _single(columns[name][i])) for name in names]
        joiner.add(where, example, _in_order(where, example, values))
    return joiner.finish()


def _columns(document: Document) -> dict[str, list[Any]]:
    whole = document.whole()
    lacking = [name for name in COLUMNS if not isinstance(whole.get(name), list)]
    if lacking:
        reason = " (a file with results alone holds no rewards)" if "scores_chosen" in lacking else ""
        raise ScoresError(f"{document.path}: column '{lacking[0]}' is missing{reason}; rows are never joined by place")
    lengths = {len(whole[name]) for name in COLUMNS}
    if len(lengths) != 1:
        raise ScoresError(f"{document.path}: the columns have different lengths: {sorted(lengths)}")
    return {name: whole[name] for name in COLUMNS}


def _single(value: Any) -> Any:
    """Some pipelines write each score as a list of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _in_order(where: str, example: ExampleRecord, values: list[float]) -> list[float]:
    labels = list(example.labels)
    if sorted(map(bool, labels)) != [False, True]:
        raise ScoresError(f"{where}: example '{example.example_id}' is not a pair with one correct response")
    return values if labels[0] else values[::-1]


def _same_texts(where: str, example: ExampleRecord, whole: Any, i: int) -> None:
    """The file's templated texts must contain the task's responses."""
    ordered = example.responses if example.labels[0] else list(reversed(example.responses))
    for name, response in zip(("text_chosen", "text_rejected"), ordered, strict=False):
        column = whole.get(name)
        text = column[i] if isinstance(column, list) and i < len(column) else None
        if isinstance(text, str) and plain(response) not in plain(text):
            raise ScoresError(
                f"{where}: {name} is not the text of example '{example.example_id}':"
                " the file was made from another edition of the data"
            )
