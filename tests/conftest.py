"""Fixtures for every test: the published data (or a skip), a private cache, tiny real checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests share tests/tiny.py


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No hub, no user cache, no data directory unless a test asks for it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HARNESS_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["TEST_DATA_DIR"] = os.environ.pop("HARNESS_DATA_DIR", os.environ.get("TEST_DATA_DIR", ""))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the published data sets; skips where HARNESS_DATA_DIR is not set."""
    folder = os.environ.get("TEST_DATA_DIR", "")
    if not folder:
        pytest.skip("HARNESS_DATA_DIR is not set: this test reads the published data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with tiny real checkpoints: rm and sft (Llama), mistral_rm and mistral_sft."""
    from tiny import write_models

    folder = tmp_path_factory.mktemp("tiny")
    write_models(folder)
    return folder


Harness = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """Run the real command line in `tmp_path`; gives returncode, stdout and stderr."""

    def run(*arguments: str | Path, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
