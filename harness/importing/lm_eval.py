"""lm-eval's logged samples of a multiple-choice task: the log-likelihood of each choice is its reward.

Rows are joined by the texts of the choices (and by the question, where choices repeat). Samples that were generated
are answers, not rewards: they are a pool ('harness pool import').
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from harness.importing._document import Document, ImportOptions, Joiner, Rewards, ScoresError, number, plain, question
from results.records import DatasetRecord, ExampleRecord

SUMMARY = "lm-eval --log_samples output of a multiple-choice task: log-likelihoods of the choices"


def matches(document: Document) -> bool:
    keys = document.first().keys() | set(_nested(document)[:1] and _nested(document)[0][1])
    return "doc_id" in keys and ("resps" in keys or "filtered_resps" in keys)


def read(document: Document, data: DatasetRecord, options: ImportOptions) -> Rewards:  # noqa: ARG001
    joiner = Joiner(document, data)
    choices: dict[tuple[str, ...], list[ExampleRecord]] = defaultdict(list)
    for example in data.examples:
        choices[tuple(sorted(map(plain, example.responses)))].append(example)
    for where, row in _nested(document) or document.rows:
        context, texts, values = _row(where, row)
        found = choices.get(tuple(sorted(texts)), [])
        if len(found) > 1:
            found = [example for example in found if question(example) in context]
        if len(found) != 1:
            joiner.lose(where, f"its choices are those of {len(found) or 'no'} examples")
            continue
        joiner.add(where, found[0], _by_text(where, found[0], texts, values))
    return joiner.finish()


def _nested(document: Document) -> list[tuple[str, Any]]:
    """Rows of a results file that carries its samples by task."""
    samples = document.whole().get("samples")
    if not isinstance(samples, dict):
        return []
    return [
        (f"{document.path} samples/{task} row {i}", row)
        for task, rows in samples.items()
        if isinstance(rows, list)
        for i, row in enumerate(rows, 1)
    ]


def _row(where: str, row: Any) -> tuple[str, list[str], list[float]]:
    """(context, texts of the choices, log-likelihoods) of one sample."""
    if not isinstance(row, dict):
        raise ScoresError(f"{where}: expected an object with doc_id, arguments and filtered_resps")
    answers = row.get("filtered_resps") or row.get("resps")
    if not isinstance(answers, list) or not all(isinstance(a, list) and a for a in answers):
        raise ScoresError(
            f"{where}: these samples were generated, they are no scores of choices:"
            " 'harness pool import' reads them as a pool"
        )
    pairs = [_pair(where, argument) for argument in _arguments(where, row.get("arguments"))]
    values = [number(where, "the log-likelihood", _innermost(answer)) for answer in answers]
    if len(pairs) != len(values):
        raise ScoresError(f"{where}: {len(pairs)} arguments for {len(values)} scores")
    return plain(pairs[0][0]), [plain(text) for _, text in pairs], values


def _innermost(answer: Any) -> Any:
    """[[-1.5, false]] and [-1.5, false] -> -1.5"""
    while isinstance(answer, list) and answer:
        answer = answer[0]
    return answer


def _arguments(where: str, arguments: Any) -> Sequence[Any]:
    if isinstance(arguments, dict):  # {"gen_args_0": {"arg_0": context, "arg_1": choice}, ...}
        return [arguments[name] for name in sorted(arguments, key=lambda n: int(n.rsplit("_", 1)[-1]))]
    if isinstance(arguments, list) and arguments:
        return arguments
    raise ScoresError(f"{where}: field 'arguments' is missing: the choices cannot be joined by their text")


def _pair(where: str, argument: Any) -> tuple[str, str]:
    values = list(argument.values()) if isinstance(argument, dict) else argument
    if not isinstance(values, list) or len(values) < 2 or not all(isinstance(v, str) for v in values[:2]):
        raise ScoresError(f"{where}: an argument should be [context, choice]")
    return values[0], values[1]


def _by_text(where: str, example: ExampleRecord, texts: Sequence[str], values: Sequence[float]) -> list[float]:
    scores: dict[str, float] = {}
    for text, value in zip(texts, values, strict=True):
        if scores.setdefault(text, value) != value and Counter(texts)[text] > 1:
            raise ScoresError(f"{where}: one choice has two scores")
    return [scores[plain(response)] for response in example.responses]
