"""Backends that need no model: rewards from a file, rules on the text, the fake one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scoring_models import conversation, request, rewards

from harness.candidate import baseline, named
from harness.errors import CandidateError, ScoringError
from harness.scoring import baseline as rules
from harness.scoring import fake, replay
from harness.scoring._types import ScoringOptions


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def row(example: str, *values: Any, task: str = "task") -> dict[str, Any]:
    return {"task": task, "example_id": example, "rewards": list(values)}


def opened(path: Path) -> Any:
    return replay.open_backend(named("x", "replay"), ScoringOptions(rewards_file=path))


ASKED = [request("k", 0, "a", "b"), request("k", 1, "a", "c"), request("l", 0, "a", "b")]


def test_replayed_rewards_go_to_their_responses(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", row("l", 3), "", row("k", 1.5, -2), row("k", 9, 9, task="another"))
    assert rewards(opened(path), ASKED) == {("k", 0): 1.5, ("k", 1): -2.0, ("l", 0): 3.0}


def test_examples_that_the_file_lacks_are_unscored_with_a_reason(tmp_path: Path) -> None:
    records = [r for b in opened(write(tmp_path / "r.jsonl", row("l", 3))).score(ASKED, ()) for r in b]
    assert [(r.example_key, r.reward, r.reason) for r in records if r.reward is None] == [
        ("k", None, "not in the rewards file")
    ] * 2


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["{"], "r.jsonl:1: not valid JSON"),
        (["[]"], "r.jsonl:1: expected an object"),
        ([row("k", 1), {"task": "t", "rewards": [1]}], "r.jsonl:2: field 'example_id' must be a str, it is missing"),
        ([{**row("k"), "rewards": "1"}], "field 'rewards' must be a list, it is str"),
        ([row("k", "1")], "rewards must be finite numbers, found '1'"),
        ([row("k", True)], "rewards must be finite numbers, found True"),
        (['{"task": "t", "example_id": "k", "rewards": [NaN]}'], "rewards must be finite numbers, found nan"),
        ([row("k", 1), row("k", 1)], "r.jsonl:2: task example 'k' appears twice"),
        ([""], "the file has no rewards"),
        ([row("k", 1, 2, 3)], "task example 'k' has 3 rewards for 2 responses"),
        ([row("z", 1)], "no example of task is in it (the task's ids look like 'k', the file's like 'z')"),
    ],
)
def test_bad_reward_files_are_named_by_file_and_line(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    with pytest.raises(ScoringError) as caught:
        opened(write(tmp_path / "r.jsonl", *rows)).check(iter(ASKED))
    assert sentence in str(caught.value)


def test_replay_needs_a_file_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="needs --rewards FILE"):
        replay.open_backend(named("x", "replay"), ScoringOptions())
    with pytest.raises(ScoringError, match=r"cannot be read \(No such file"):
        opened(tmp_path / "missing.jsonl")


def scored(rule: str, *texts: str, seed: int = 0) -> list[float | None]:
    backend = rules.open_backend(baseline(f"baseline:{rule}"), ScoringOptions(seed=seed))
    return list(rewards(backend, [request("k", i, "a", text) for i, text in enumerate(texts)]).values())


def test_the_length_rule_prefers_longer_texts_and_later_ones_of_equal_length() -> None:
    short, long, later = scored("length", "aa", "aaaa", "bbbb")
    assert short < long < later < long + 1  # type: ignore[operator]
    assert scored("short", "aa", "aaaa")[0] > scored("short", "aa", "aaaa")[1]  # type: ignore[operator]


def test_the_random_rule_is_a_function_of_its_seed() -> None:
    assert scored("random", "a", "b") == scored("random", "a", "b") != scored("random", "a", "b", seed=1)
    protocols = [rules.open_backend(baseline("baseline:random"), ScoringOptions(seed=s)).protocol() for s in (0, 1)]
    assert protocols[0] != protocols[1]


def test_an_unknown_rule_names_the_known_ones() -> None:
    with pytest.raises(CandidateError, match="unknown baseline 'lenght': did you mean 'length'"):
        baseline("baseline:lenght")


def test_fake_rewards_are_a_function_of_the_text_and_finished_ones_are_skipped() -> None:
    backend, asked = fake.open_backend(named("x", "fake"), ScoringOptions()), conversation(3)
    found = rewards(backend, asked)
    assert found == rewards(backend, asked[::-1])
    assert all(value is not None and 0 <= value < 1 for value in found.values())
    assert list(backend.score(asked, found.keys())) == []
