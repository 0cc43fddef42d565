"""The record of a night: who played which role, what they scored, what the gate said. One small JSON file a night.

    HISTORY/nights/2026-11-22.json

Records are kept for ever, when the rewards behind them are long pruned; they are all that the page of nights
reads. A record is written last, whole or not at all: a night that has one is finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leaderboard._errors import LeaderboardError

FOLDER = "nights"
VERSION = 1


@dataclass(frozen=True, slots=True)
class NightScore:
    """One role on one task; metrics are (value, low, high) as fractions, with 95% intervals."""

    role: str
    task: str
    candidate: str
    candidate_id: str
    run: str  # id of the stored run; "" where it failed before there was one
    status: str
    reason: str = ""
    n: int = 0
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NightVerdict:
    """What the gate said of one role on one task; fractions. `verdict` is leaderboard.gate's, or "not compared"."""

    role: str
    task: str
    verdict: str
    against: str  # the baseline: a night's date, a release or a name
    baseline: str  # its candidate's name
    baseline_id: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_worse: float | None = None  # Holm-adjusted
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Night:
    """One night, finished."""

    night: str  # ISO date
    key: str  # hash of what the night was made from: an equal key means that there is nothing to do again
    scores: Sequence[NightScore]
    verdicts: Sequence[NightVerdict]
    verdict: str  # over all
    rule: Mapping[str, Any]  # baseline, margin (points), alpha, metric
    exit_code: int
    version: int = VERSION

    def score(self, role: str, task: str) -> NightScore | None:
        """The complete run of a role on a task."""
        found = (s for s in self.scores if (s.role, s.task, s.status) == (role, task, "complete"))
        return next(found, None)

    @property
    def roles(self) -> list[str]:
        return list(dict.fromkeys(s.role for s in self.scores))


def as_text(night: Night) -> str:
    """The file's text; equal nights give equal bytes."""
    return json.dumps(asdict(night), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def night_file(history: Path, night: str) -> Path:
    return history / FOLDER / f"{night}.json"


def write_night(history: Path, night: Night) -> Path:
    """Write the record, whole or not at all. Raises LeaderboardError."""
    path = night_file(history, night.night)
    write_whole(path, as_text(night))
    return path


def write_whole(path: Path, text: str) -> None:
    """A small text file that appears whole. Raises LeaderboardError."""
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise LeaderboardError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_nights(history: Path) -> list[Night]:
    """All records of a history, oldest first. Raises LeaderboardError for a file that is none."""
    return [_read(path) for path in sorted((history / FOLDER).glob("????-??-??.json"))]


def _read(path: Path) -> Night:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["version"] > VERSION:
            raise LeaderboardError(f"{path}: written by a newer release (version {raw['version']}): use that one")
        scores = [NightScore(**s) for s in raw.pop("scores")]
        verdicts = [NightVerdict(**v) for v in raw.pop("verdicts")]
        return Night(scores=scores, verdicts=verdicts, **raw)
    except OSError as error:
        raise LeaderboardError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, LeaderboardError):
            raise
        raise LeaderboardError(
            f"{path}: not the record of a night ({error}): restore it, or run the night again"
        ) from None
