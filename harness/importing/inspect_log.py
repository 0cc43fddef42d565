"""An Inspect log (JSON or .eval) whose samples are a task's responses: a numeric score of each is its reward.

A sample belongs to the example with its id or its question, and to the response whose text is its completion.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from harness.errors import did_you_mean
from harness.importing._document import Document, ImportOptions, Joiner, Rewards, ScoresError, number, plain
from results.records import DatasetRecord, ExampleRecord

SUMMARY = "an Inspect log with samples whose completions are the task's responses (--scorer NAME)"


def matches(document: Document) -> bool:
    return "eval" in document.whole() and isinstance(document.whole().get("samples"), list)


def read(document: Document, data: DatasetRecord, options: ImportOptions) -> Rewards:
    joiner = Joiner(document, data)
    held: dict[str, dict[str, float]] = defaultdict(dict)  # example id -> response text -> reward
    for i, sample in enumerate(document.whole()["samples"], 1):
        where = f"{document.path} sample {i}"
        if not isinstance(sample, dict):
            raise ScoresError(f"{where}: expected an object with id, output and scores")
        example, text = _example(joiner, sample), plain(_completion(sample))
        if example is None or text not in map(plain, example.responses):
            what = "its completion is no response of the task (new answers are a pool: 'harness pool import')"
            joiner.lose(where, what if example else f"there is no example '{sample.get('id')}' and none asks its input")
            continue
        value = _score(where, sample, options.scorer)
        if held[example.example_id].setdefault(text, value) != value:
            raise ScoresError(f"{where}: this response of example '{example.example_id}' has two scores")
    for example in data.examples:
        found = held.get(example.example_id)
        if found:
            values = [found[plain(r)] for r in example.responses if plain(r) in found]
            joiner.add(str(document.path), example, values)
    return joiner.finish()


def _example(joiner: Joiner, sample: dict[str, Any]) -> ExampleRecord | None:
    found = joiner.by_id(sample.get("id"))
    if found is not None:
        return found
    asked = sample.get("input")
    if isinstance(asked, list):
        turns = [turn.get("content") for turn in asked if isinstance(turn, dict) and turn.get("role") == "user"]
        asked = turns[-1] if turns else None
    matches = joiner.by_question(asked) if isinstance(asked, str) else []
    return matches[0] if len(matches) == 1 else None


def _completion(sample: dict[str, Any]) -> str:
    output = sample.get("output")
    if not isinstance(output, dict):
        return ""
    if isinstance(output.get("completion"), str):
        return str(output["completion"])
    try:
        content = output["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return str(content)


def _score(where: str, sample: dict[str, Any], scorer: str | None) -> float:
    scores = sample.get("scores")
    if not isinstance(scores, dict) or not scores:
        raise ScoresError(f"{where}: the sample has no scores")
    if scorer is None and len(scores) > 1:
        raise ScoresError(f"{where}: several scores ({', '.join(sorted(scores))}): choose one with --scorer")
    name = scorer or next(iter(scores))
    if name not in scores:
        raise ScoresError(f"{where}: there is no score '{name}': {did_you_mean(name, scores)}")
    score = scores[name]
    return number(where, f"score '{name}'", score.get("value") if isinstance(score, dict) else score)
