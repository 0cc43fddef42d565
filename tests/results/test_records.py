"""Content keys: what makes new rows, and what makes none."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from stored import dataset, example

from results.records import ProtocolRecord, content_key, dataset_key


def test_the_key_is_sha256_of_canonical_json() -> None:
    expected = hashlib.sha256(b'{"a":[1,"\xc3\xa9"],"b":null}').hexdigest()
    assert content_key({"b": None, "a": [1, "é"]}) == expected


@pytest.mark.parametrize(
    "changed",
    [{"prompt": [("user", "another")]}, {"prompt": [("system", "question 0")]}, {"responses": ["right 0", "other"]},
     {"responses": ["wrong 0", "right 0"]}],
)  # fmt: skip
def test_other_text_is_another_example(changed: dict[str, Any]) -> None:
    assert example(0, **changed).key != example(0).key


@pytest.mark.parametrize(
    "changed",
    [{"example_id": "x"}, {"labels": [False, True]}, {"subset": "t"}, {"weight": 2.0}, {"cluster": "c"},
     {"sources": ["x", "y"]}],
)  # fmt: skip
def test_what_a_reward_does_not_depend_on_keeps_the_example(changed: dict[str, Any]) -> None:
    assert example(0, **changed).key == example(0).key


@pytest.mark.parametrize(
    "changed", [{"labels": [False, True]}, {"subset": "t"}, {"cluster": "c"}, {"answers": ["1", None]}]
)
def test_other_labels_are_another_data_set(changed: dict[str, Any]) -> None:
    assert dataset(1, examples=[example(0, **changed)]).key != dataset(1).key


def test_moved_or_annotated_data_is_the_same_data_set() -> None:
    moved = replace(dataset(), sources=[{"location": "elsewhere"}], notes=["a note"], options={"x": "y"})
    assert moved.key == dataset().key


def test_order_task_metrics_and_outcome_belong_to_a_data_set() -> None:
    plain = dataset()
    others = [
        replace(plain, examples=list(reversed(plain.examples))),
        replace(plain, task="other"),
        replace(plain, outcome="agreement"),
        replace(plain, metrics=[]),
    ]
    assert len({plain.key, *(other.key for other in others)}) == 5


@pytest.mark.parametrize("setting", ["template", "dtype", "max_length", "tokenizer"])
def test_every_protocol_setting_makes_another_protocol(setting: str) -> None:
    base = {"template": "a", "dtype": "float32", "max_length": 1, "tokenizer": "t"}
    assert ProtocolRecord({**base, setting: "changed"}).id != ProtocolRecord(base).id
    assert ProtocolRecord(dict(reversed(base.items()))).id == ProtocolRecord(base).id


def test_lone_surrogates_have_a_key() -> None:
    assert example(0, responses=["\ud800", "b"]).key != example(0, responses=["", "b"]).key


def test_a_data_set_is_hashed_row_by_row_to_the_key_of_the_whole() -> None:
    rows = [["1", "ab", [True, None], [None, "7"], "s", "", None], ["[]", "\ud800", [], [], "", "", "c"]]
    metrics = [{"key": "score", "parts": [["subset/s", None]], "outcome": "accuracy"}]
    for some in (rows, rows[:1], []):
        whole = content_key({"task": 't [] "rows":[', "outcome": "accuracy", "rows": some, "metrics": metrics})
        assert dataset_key('t [] "rows":[', "accuracy", iter(some), metrics) == whole
