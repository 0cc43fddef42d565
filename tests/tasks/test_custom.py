"""Tasks from a user's file: what the labels make of them, and how bad rows are named."""

from __future__ import annotations

import pytest

from tasks._custom import load_custom
from tasks._types import TaskError


def row(number: int, **changes: object) -> dict[str, object]:
    return {"id": number, "prompt": "q", "responses": ["a", "b"], "correct": [True, False]} | changes


def test_one_correct_everywhere_is_an_accuracy(write_rows) -> None:
    rows = [row(1, subset="x"), row("two", subset="y", cluster="c", responses=["a"] * 4, correct=[False] * 3 + [True])]
    data = load_custom("mine", write_rows("mine.jsonl", rows))
    assert (data.task, data.outcome) == ("mine", "accuracy")
    assert [(e.id, e.subset, e.cluster, len(e.responses)) for e in data.examples] == [
        ("1", "x", None, 2),
        ("two", "y", "c", 4),
    ]
    assert [(metric.key, metric.parts) for metric in data.metrics] == [
        ("score", (("subset/x", None), ("subset/y", None)))
    ]


@pytest.mark.parametrize("correct", [[True, True], [False, False], [True, None]])
def test_any_other_number_correct_is_best_of_n(write_rows, correct: list[bool | None]) -> None:
    data = load_custom("mine", write_rows("mine.jsonl", [row(1), row(2, correct=correct)]))
    assert data.outcome == "best_of_n"
    assert [response.correct for response in data.examples[1].responses] == correct


def test_prompt_may_be_messages(write_rows) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    data = load_custom("mine", write_rows("mine.jsonl", [row(1, prompt=turns)]))
    assert [message.role for message in data.examples[0].prompt] == ["system", "user"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(1), ["mine.jsonl:2", "id '1'", "unique"]),
        (row(2, correct=[True]), ["mine.jsonl:2", "1 labels for 2 responses"]),
        (row(2, correct=[1, 0]), ["'correct'", "true, false or null"]),
        (row(2, correct="yes"), ["'correct'", "list"]),
        (row(2, responses=["a", 3]), ["'responses'", "list of texts"]),
        (row(2, responses=["a"], correct=[True]), ["'responses'", "two texts or more"]),
        ({"id": 2, "prompt": "q", "responses": ["a", "b"]}, ["'correct'", "missing"]),
        (row(2, prompt=5), ["'prompt'", "messages", "5"]),
        (row(2, id=None), ["'id'", "null"]),
    ],
)
def test_bad_rows_are_named(write_rows, bad: dict[str, object], words: list[str]) -> None:
    with pytest.raises(TaskError) as caught:
        load_custom("mine", write_rows("mine.jsonl", [row(1), bad]))
    assert all(word in str(caught.value) for word in words), str(caught.value)
