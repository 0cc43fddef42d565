"""RewardMATH's result files: a list of {"problem", "solution_reference", "score"}, the correct solution first.

The files hold no response texts and are not in one order, so rows are joined by the problem's text. In a pair the
first score goes to the correct response, wherever the task has it. With more responses the rest is known by
position only: the task must have the correct one first, as the file does, and generators' names must agree.
"""

from __future__ import annotations

from typing import Any

from harness.importing._document import Document, ImportOptions, Joiner, Rewards, ScoresError, number
from results.records import DatasetRecord, ExampleRecord
from tasks._schema import brief

SUMMARY = 'RewardMATH results, a list of {"problem", "solution_reference", "score"}; joined by problem text'
_ROLES = {"chosen", "rejected"}


def matches(document: Document) -> bool:
    return "problem" in document.first() and "score" in document.first()


def read(document: Document, data: DatasetRecord, options: ImportOptions) -> Rewards:  # noqa: ARG001
    joiner = Joiner(document, data)
    for where, row in document.rows:
        problem, values = _row(where, row)
        found = joiner.by_question(problem)
        if len(found) > 1:
            raise ScoresError(f"{where}: {len(found)} examples of {data.task} ask this: {brief(problem)}")
        if not found:
            joiner.lose(where, f"no example asks {brief(problem)}")
            continue
        if found[0].example_id in joiner.rewards:
            raise ScoresError(f"{where}: the problem appears twice: {brief(problem)}")
        if len(values) == len(found[0].responses):
            values = _in_order(where, found[0], values, row.get("solution_reference"))
        joiner.add(where, found[0], values)
    return joiner.finish()


def _row(where: str, row: Any) -> tuple[str, list[float]]:
    if not isinstance(row, dict) or not isinstance(row.get("problem"), str) or not isinstance(row.get("score"), list):
        raise ScoresError(f"{where}: expected an object with 'problem' (text) and 'score' (a list of numbers)")
    return row["problem"], [number(where, f"score[{i}]", value) for i, value in enumerate(row["score"])]


def _in_order(where: str, example: ExampleRecord, values: list[float], names: Any) -> list[float]:
    right = [i for i, label in enumerate(example.labels) if label]
    if len(right) != 1:
        raise ScoresError(f"{where}: example '{example.example_id}' has {len(right)} correct responses; one is needed")
    if len(values) == 2:
        return values if right[0] == 0 else values[::-1]
    if right[0] != 0:
        raise ScoresError(
            f"{where}: the file has the correct solution first, example '{example.example_id}' has it at place"
            f" {right[0] + 1}; without texts the others cannot be told apart"
        )
    known = [source for source in example.sources if source]
    if isinstance(names, list) and len(known) == len(names) and not _ROLES & set(map(str, names)) and known != names:
        raise ScoresError(
            f"{where}: the solutions are by other generators than the responses of '{example.example_id}'"
        )
    return values
