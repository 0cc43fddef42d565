"""Fixtures of the merging tests; `merging_models` beside this file makes the models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from merging_models import save_model

from harness.cli.main import main

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no network."""
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make(name, seed=1, reward=True, ...) -> folder of a saved model."""
    return lambda name, **settings: save_model(tmp_path / name, **settings)


@pytest.fixture
def pair(make: Callable[..., Path]) -> tuple[Path, Path]:
    """A reward model and an expert of one family, one vocabulary, bfloat16."""
    rm = make("rm", seed=1, reward=True, dtype=torch.bfloat16)
    return rm, make("sft", seed=2, reward=False, dtype=torch.bfloat16)


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(arguments) -> the sentence; checks exit code 2, one line, no output and no temporary folder."""

    def call(*arguments: object, out: Path | None = None) -> str:
        target = out or tmp_path / "out"
        existed = _there(target)
        with pytest.raises(SystemExit) as stop:
            main(["merge", *map(str, arguments), "-o", str(target)])
        assert stop.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("harness: ")
        assert _there(target) == existed
        assert not list(tmp_path.rglob(".*merging-*"))
        return lines[0]

    return call


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False
