"""A worker without Ray: models are found on its node and are the driver's, mistakes come back as values."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import candidate as candidates
from harness.candidate import from_sweep, named, resolve
from harness.config import Recipe
from harness.errors import CandidateError, ConfigError
from harness.executors import _worker
from harness.executors._worker import Opened, Refused, Scored, Worker
from harness.scoring._types import Request, ScoringOptions
from tasks._types import Message

ASKED = tuple(Request(f"e{i}", j, (Message("user", f"what is {i}"),), f"it is {j}") for i in range(4) for j in range(2))


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers own their process; here they do not."""
    monkeypatch.setattr(_worker, "_use_threads", lambda _threads: None)


def worker(backend: str | None = None, **options: Any) -> Worker:
    return Worker(backend, ScoringOptions(device="cpu", **options), 1)


def rewards(answer: Any) -> dict[tuple[str, int], float]:
    assert isinstance(answer, Scored), answer
    return {(r.example_key, r.response): r.reward for r in answer.records if r.reward is not None}


def test_chunks_are_fetched_once_and_what_is_stored_is_left_out() -> None:
    one, fetched = worker("fake"), []

    def fetch() -> tuple[Request, ...]:
        fetched.append(1)
        return ASKED

    assert isinstance(one.open(named("a", "fake")), Opened)
    whole = rewards(one.score("chunk", fetch, frozenset()))
    assert len(whole) == 8
    rest = rewards(one.score("chunk", fetch, frozenset({("e0", 0)})))
    assert rest == {key: value for key, value in whole.items() if key != ("e0", 0)}
    assert len(fetched) == 1


def test_a_model_is_scored_with_reports_and_notes_instead_of_callbacks(tiny: Path) -> None:
    one = worker("hf")
    opened = one.open(resolve(str(tiny / "rm")))
    assert isinstance(opened, Opened)
    assert opened.protocol["backend"] == "hf"
    assert "versions" in opened.environment
    answer = one.score("chunk", lambda: ASKED, frozenset())
    assert len(rewards(answer)) == 8
    assert isinstance(answer, Scored)
    assert sum(report.responses for report in answer.reports) == 8


def test_a_node_must_have_the_same_files_at_the_same_path(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "rm", tmp_path / "rm")
    seen = resolve(str(tmp_path / "rm"))
    gone = worker("hf").open(replace(seen, folder=tmp_path / "elsewhere"))
    assert isinstance(gone, Refused)
    assert isinstance(gone.error, CandidateError)
    assert "has no such folder; a model must lie at the same path on every node" in str(gone.error)
    config = json.loads((tmp_path / "rm" / "config.json").read_text())
    (tmp_path / "rm" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    other = worker("hf").open(seen)
    assert isinstance(other, Refused)
    assert "are not those that the driver has" in str(other.error)


def test_the_parents_of_a_merge_are_proven_too(tiny: Path, tmp_path: Path) -> None:
    for name in ("rm", "sft"):
        shutil.copytree(tiny / name, tmp_path / name)
    recipe = Recipe(rm=str(tmp_path / "rm"), experts=[{"model": str(tmp_path / "sft")}], sweep=[0.2, 0.4])  # type: ignore[list-item]
    first, second = from_sweep(recipe)
    one = worker("hf")
    assert isinstance(one.open(first), Opened)
    assert isinstance(one.open(second), Opened)
    shutil.copytree(tiny / "mistral_sft", tmp_path / "sft", dirs_exist_ok=True)
    refused = worker("hf").open(second)
    assert isinstance(refused, Refused)


def test_a_hub_model_is_had_at_the_drivers_revision(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    from harness.merging import _checkpoint

    asked, real = [], _checkpoint.locate

    def locate(name: str, *more: Any, **options: Any) -> Path:
        if "@" not in name:
            return real(name, *more, **options)
        asked.append(name)
        return tiny / "rm"

    monkeypatch.setattr(_checkpoint, "locate", locate)
    cache = Path("/nowhere/hub/models--some-owner--a-model--v2/snapshots") / ("0123456789" * 4)
    seen = candidates.from_folder(tiny / "rm", "some-owner/a-model--v2")
    opened = worker("hf").open(replace(seen, folder=cache))
    assert isinstance(opened, Opened), opened
    assert asked == ["some-owner/a-model--v2@" + "0123456789" * 4]


def test_mistakes_are_values_and_everything_else_is_raised(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = worker("hff").open(resolve(str(tiny / "rm")))
    assert isinstance(unknown, Refused)
    assert isinstance(unknown.error, ConfigError)
    one = worker("fake")
    one.open(named("a", "fake"))
    monkeypatch.setattr("harness.scoring.fake.fake_reward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.score("chunk", lambda: ASKED, frozenset())
