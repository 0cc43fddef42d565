"""Fixtures of the scoring tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # these tests share scoring_models.py

from scoring_models import write_model


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a model of one of KINDS, made at the first call."""
    root = tmp_path_factory.mktemp("family")

    def folder(kind: str) -> Path:
        place = root / kind
        return place if place.exists() else write_model(place, kind)

    return folder


@pytest.fixture
def copied(family: Callable[[str], Path], tmp_path: Path) -> Path:
    """A llama to spoil."""
    return Path(shutil.copytree(family("llama"), tmp_path / "model"))
