"""Scores over time: every complete run of a candidate's name on a task, oldest first, and what changed between.

A run is one (candidate content, protocol, data set): a night that changes none of them adds no point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard.board import Score, is_unsafe
from leaderboard.compare import interval
from leaderboard.metrics import Measured
from results.records import RunRewards

Run = Mapping[str, Any]
OLDER_RUNS = 200  # measured again for this page; the newest are kept
_CHANGES = {"candidate_id": "model", "dataset_id": "data", "protocol_id": "protocol"}


@dataclass(frozen=True, slots=True)
class Moment:
    """One run: its headline score and what differs from the run before it."""

    run: Run
    score: Score
    changed: tuple[str, ...]  # of model, data, protocol


@dataclass(frozen=True, slots=True)
class Track:
    """One candidate's name on one task, at least one run."""

    task: str
    name: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class History:
    tracks: tuple[Track, ...]
    left_out: int  # older runs beyond the limit


def build_history(
    runs: Sequence[Run], known: Mapping[str, Score], load: Callable[[Run], RunRewards], limit: int = OLDER_RUNS
) -> History:
    """`runs` are all runs, oldest first; `known` the headline scores that are already measured, by run id."""
    complete = [r for r in runs if r["status"] == "complete" and not is_unsafe(r)]
    older = [r for r in complete if r["id"] not in known]
    skipped = {r["id"] for r in (older[:-limit] if limit else older)} if len(older) > limit else set()
    scores = {**known, **{r["id"]: s for r in older if r["id"] not in skipped and (s := _score(load(r)))}}
    tracks: dict[tuple[str, str], list[Run]] = {}
    for run in complete:
        if run["id"] in scores:
            tracks.setdefault((run["task"], run["candidate"]), []).append(run)
    return History(tuple(_track(key, found, scores) for key, found in tracks.items()), len(skipped))


def _score(data: RunRewards) -> Score | None:
    measured = Measured(data)
    y, w = measured.flat("score")
    if not w.any():
        return None
    low, high, _ = interval(measured)
    used = w > 0
    return Score(float(w[used] @ y[used]), float(low), float(high), int(used.sum()))


def _track(key: tuple[str, str], runs: Sequence[Run], scores: Mapping[str, Score]) -> Track:
    moments = []
    for before, run in zip([None, *runs], runs, strict=False):
        changed = () if before is None else tuple(what for name, what in _CHANGES.items() if before[name] != run[name])
        moments.append(Moment(run, scores[run["id"]], changed))
    return Track(*key, tuple(moments))
