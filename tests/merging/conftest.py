"""Fixtures of the merging tests; `merging_models` beside this file makes the models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from merging_models import save_model


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
