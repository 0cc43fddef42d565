"""Commands, digests and logs that the executors' tests share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def command(words: Sequence[object], told: Mapping[str, object]) -> list[str]:
    """A harness command with what the unruly backend is told."""
    options = [word for key, value in told.items() for word in ("--backend-option", f"{key}={value}")]
    return [sys.executable, "-m", "harness", *map(str, words), *options]


def digest_of(path: Path) -> str:
    from results.digest import digest
    from results.store import open_store

    with open_store(path, read_only=True) as store:
        return digest(store).total


def logged(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
