"""What runs on a worker: one open backend, chunks in, rewards out. Nothing here knows Ray or the store.

Mistakes of the user and failed runs come back as values, so that the driver says the same sentence as without
workers; anything else is raised and costs the worker.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.candidate import Candidate, from_folder, from_recipe
from harness.errors import CandidateError, RunFailed, UserError
from harness.executors._backend import OpenBackend
from harness.executors._chunks import Chunk
from harness.executors._types import Key
from harness.scoring._types import BatchReport, ScoringOptions
from results.records import RewardRecord
from tasks._types import TaskError

_KEPT = 100_000  # requests, so that the next lambda of a sweep brings the same objects and nothing is encoded twice
_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/?$")  # where the hub's client puts models


@dataclass(frozen=True, slots=True)
class Opened:
    """A candidate is open: what it will be scored under, and on what."""

    protocol: Mapping[str, Any]
    environment: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """A chunk's rewards."""

    records: list[RewardRecord]
    reports: list[BatchReport]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """One sentence for the user, with the class that decides what becomes of it."""

    error: Exception


class Worker:
    """Holds one backend. `backend`: its name, None for the usual one; `threads`: of torch, on a CPU."""

    def __init__(self, backend: str | None, options: ScoringOptions, threads: int) -> None:
        _use_threads(threads)
        self._notes: list[str] = []
        self._reports: list[BatchReport] = []
        options = replace(options, notify=self._notes.append, on_batch=self._reports.append)
        self._open = OpenBackend(backend, options)
        self._candidate: Candidate | None = None
        self._proven: set[str] = set()
        self._chunks: dict[str, Chunk] = {}

    def open(self, candidate: Candidate) -> Opened | Refused:
        """Make a candidate the one that is scored."""
        try:
            self._candidate = self._local(candidate)
            backend = self._open.of(self._candidate)
            return Opened(dict(backend.protocol()), _environment(), self._said())
        except (UserError, TaskError, RunFailed) as error:
            return Refused(error)

    def score(self, key: str, fetch: Callable[[], Chunk], done: frozenset[Key]) -> Scored | Refused:
        """Rewards of the chunk with this key for the open candidate; `fetch` brings it where it is not here yet."""
        assert self._candidate is not None, "open comes first"
        start = time.perf_counter()
        records: list[RewardRecord] = []
        self._reports.clear()
        try:
            chunk = self._chunk(key, fetch)
            for batch in self._open.of(self._candidate).score(chunk, done):
                records += batch
        except (UserError, TaskError, RunFailed) as error:
            return Refused(error)
        return Scored(records, list(self._reports), self._said(), time.perf_counter() - start)

    def _said(self) -> tuple[str, ...]:
        said = tuple(self._notes)
        self._notes.clear()
        return said

    def _chunk(self, key: str, fetch: Callable[[], Chunk]) -> Chunk:
        if key not in self._chunks:
            chunk = fetch()
            while self._chunks and sum(map(len, self._chunks.values())) + len(chunk) > _KEPT:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[key] = chunk
        return self._chunks[key]

    def _local(self, candidate: Candidate) -> Candidate:
        """The candidate with its models where they lie on this node, proven to be the same by their content."""
        if candidate.folder is None and candidate.recipe is None:
            return candidate
        recipe = candidate.recipe
        if candidate.folder is not None:
            here = replace(candidate, folder=_here(candidate.folder))
        else:
            assert recipe is not None
            experts = [e.model_copy(update={"model": str(_here(Path(e.model)))}) for e in recipe.experts]
            base = None if recipe.base is None else str(_here(Path(recipe.base)))
            moved = recipe.model_copy(update={"rm": str(_here(Path(recipe.rm))), "experts": experts, "base": base})
            here = replace(candidate, recipe=moved)
        family = candidate.sweep or candidate.id
        if family not in self._proven:
            _prove(here)
            self._proven.add(family)
        return here


def _here(folder: Path) -> Path:
    """A model folder as this node has it: at the same path, or from the hub at the same revision."""
    if folder.is_dir():
        return folder
    snapshot = _SNAPSHOT.search(str(folder))
    if snapshot is not None:
        from harness.merging._checkpoint import locate

        return locate(f"{snapshot[1]}/{snapshot[2]}@{snapshot[3]}")
    raise CandidateError(
        f"{folder}: node {socket.gethostname()} has no such folder; a model must lie at the same path on every node,"
        " or be a hub id"
    )


def _prove(here: Candidate) -> None:
    """Rewards are kept under the content that the driver saw: the node's must be the same."""
    found = from_recipe(here.recipe) if here.recipe is not None else None
    if found is None and here.folder is not None:
        found = from_folder(here.folder, here.name)
    if found is not None and found.id != here.id:
        where = here.folder or (here.recipe and here.recipe.rm)
        raise CandidateError(
            f"{where}: the files on node {socket.gethostname()} are not those that the driver has: copy them again"
        )


def _use_threads(threads: int) -> None:
    """So many threads for torch, also when it is loaded later; waiting ones leave the cores to the other workers."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _environment() -> Mapping[str, Any]:
    from harness._environment import environment

    return environment()
