"""Rewards from a file: JSONL rows {"task", "example_id", "rewards": [r, ...]} in response order.

For reward models that cannot be run here and for results that others published. Every row is checked before the
first reward is stored; the error names file and line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.candidate import Candidate
from harness.errors import ScoringError
from harness.scoring._types import Backend, Request, ScoringOptions
from results.records import RewardRecord

BATCH = 4096


def _row(where: str, line: str) -> tuple[str, str, list[float]]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ScoringError(f"{where}: not valid JSON ({error.msg})") from None
    if not isinstance(row, dict):
        raise ScoringError(f"{where}: expected an object with task, example_id and rewards")
    for key, kind in (("task", str), ("example_id", str), ("rewards", list)):
        if not isinstance(row.get(key), kind):
            got = "missing" if key not in row else type(row[key]).__name__
            raise ScoringError(f"{where}: field '{key}' must be a {kind.__name__}, it is {got}")
    for value in row["rewards"]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ScoringError(f"{where}: rewards must be finite numbers, found {value!r}")
    return row["task"], row["example_id"], [float(value) for value in row["rewards"]]


def read_rewards(path: Path) -> dict[tuple[str, str], list[float]]:
    """(task, example id) -> rewards in response order. Raises ScoringError naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    rewards: dict[tuple[str, str], list[float]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        task, example_id, values = _row(f"{path}:{number}", line)
        if (task, example_id) in rewards:
            raise ScoringError(f"{path}:{number}: {task} example '{example_id}' appears twice")
        rewards[task, example_id] = values
    if not rewards:
        raise ScoringError(f"{path}: the file has no rewards")
    return rewards


class ReplayBackend:
    """Rewards of `path`; `rewards` are given when another format was read from it."""

    def __init__(self, path: Path, rewards: Mapping[tuple[str, str], list[float]] | None = None) -> None:
        self._path = path
        self._rewards = read_rewards(path) if rewards is None else rewards

    def protocol(self) -> Mapping[str, Any]:
        return {"backend": "replay"}

    def score(self, requests: Sequence[Request], done: Collection[tuple[str, int]]) -> Iterator[list[RewardRecord]]:
        """Yields what is `done` too: the runner compares it with what is stored under this candidate's name."""
        del done
        for start in range(0, len(requests), BATCH):
            yield [self._record(r) for r in requests[start : start + BATCH]]

    def check(self, requests: Iterable[Request]) -> None:
        """The file fits the task: nothing is stored before all of it is known to. Raises ScoringError."""
        size: dict[tuple[str, str], int] = {}
        for r in requests:
            size[r.task, r.example_id] = max(size.get((r.task, r.example_id), 0), r.response + 1)
        for (task, example_id), count in size.items():
            found = self._rewards.get((task, example_id))
            if found is not None and len(found) != count:
                raise ScoringError(
                    f"{self._path}: {task} example '{example_id}' has {len(found)} rewards for {count} responses"
                )
        if not any(key in self._rewards for key in size):
            task, example_id = next(iter(size))
            raise ScoringError(
                f"{self._path}: no example of {task} is in it (the task's ids look like '{example_id}',"
                f" the file's like '{next(iter(self._rewards))[1]}')"
            )

    def _record(self, r: Request) -> RewardRecord:
        values = self._rewards.get((r.task, r.example_id))
        if values is None:
            return RewardRecord(r.example_key, r.response, None, reason="not in the rewards file")
        return RewardRecord(r.example_key, r.response, values[r.response])


def open_backend(candidate: Candidate, options: ScoringOptions) -> Backend:  # noqa: ARG001
    if options.rewards_file is None:
        raise ScoringError("--backend replay needs --rewards FILE")
    return ReplayBackend(options.rewards_file)
