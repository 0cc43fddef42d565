"""A tiny world for nights: a real checkpoint, and a task that it gets right nine times in ten."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from harness.nightly._config import NightlyConfig, read_nightly
from harness.nightly._night import Finished, NightRequest, run_night
from harness.scoring._types import ScoringOptions

WORDS = "the a of to and in is it that for was on are with as at be this have from or one had by but not what all"


@pytest.fixture(scope="session")
def labelled(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task file whose labels are the tiny reward model's own preferences, every tenth turned round."""
    from harness.candidate import resolve
    from harness.loading import DataRequest
    from harness.runner import EvalRequest, run_eval
    from results import queries
    from results.store import open_store

    folder, rng, words = tmp_path_factory.mktemp("labelled"), random.Random(0), WORDS.split()
    rows = [
        {
            "id": f"q{i}",
            "prompt": " ".join(rng.choices(words, k=5)),
            "responses": [" ".join(rng.choices(words, k=6)) for _ in range(2)],
            "correct": [True, False],
        }
        for i in range(150)
    ]
    path, db = folder / "mine.jsonl", folder / "label.duckdb"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_eval(EvalRequest([resolve(str(tiny / "rm"))], [], db, data=DataRequest(task_files={"mine": path})))
    with open_store(db, read_only=True) as store:
        found = queries.run_rewards(store, queries.runs(store)[0]).rewards
    for i, row in enumerate(rows):
        right = bool(found[2 * i] > found[2 * i + 1]) != (i % 10 == 0)
        row["correct"] = [right, not right]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class World:
    """A folder with nightly.yaml; `change` gives the production model other weights."""

    def __init__(self, folder: Path, tiny: Path, task: Path) -> None:
        self.folder, self._tiny = folder, tiny
        self.notes: list[str] = []
        shutil.copy(task, folder / "mine.jsonl")
        self.change(0.0)
        self.configure()

    def configure(self, **more: object) -> None:
        config = {"models": {"production": "prod", "length": "baseline:length"}, "task_files": {"mine": "mine.jsonl"}}
        (self.folder / "nightly.yaml").write_text(yaml.safe_dump({**config, **more}, sort_keys=False))

    def change(self, scale: float) -> None:
        """Every weight times 1 + scale * noise: .5 ruins the model, 0 is the original."""
        import torch
        from safetensors.torch import load_file, save_file

        shutil.rmtree(self.folder / "prod", ignore_errors=True)
        shutil.copytree(self._tiny / "rm", self.folder / "prod")
        file, noise = self.folder / "prod" / "model.safetensors", torch.Generator().manual_seed(1)
        weights = {k: v * (1 + scale * torch.randn(v.shape, generator=noise)) for k, v in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})

    @property
    def config(self) -> NightlyConfig:
        return read_nightly(self.folder / "nightly.yaml")

    def night(self, date: str) -> Finished:
        return run_night(NightRequest(self.config, date, ScoringOptions(), self.notes.append))


@pytest.fixture
def world(tmp_path: Path, tiny: Path, labelled: Path) -> World:
    return World(tmp_path, tiny, labelled)


Snapshot = Callable[[], dict[str, bytes]]


@pytest.fixture
def files(tmp_path: Path) -> Snapshot:
    """Every file of the history and the site, by its path."""

    def read() -> dict[str, bytes]:
        found = [p for folder in ("history", "site") for p in (tmp_path / folder).rglob("*") if p.is_file()]
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in found}

    return read
