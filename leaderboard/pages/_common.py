"""What all pages share: unique names and links of candidates, tasks and runs, and cells of tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard import charts, view
from leaderboard._candidates import Candidate
from leaderboard._standing import Pair
from leaderboard.board import Board, Entry, Score, TaskBoard
from leaderboard.compare import Comparison

_GROUPS = {
    "section": "Sections",
    "category": "Categories",
    "group": "Groups, labelled ties count as wanted ties",
    "prior": "Prior sets",
    "subset": "Subsets",
}
KIND_NOTES = {
    "replay": "rewards from a file",
    "baseline": "rule without a model",
    "fake": "test backend, not a model",
}


@dataclass(frozen=True, slots=True)
class Extra:
    """A section of plain text that a caller adds to the overview; the first paragraph is shown at its top too."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]] = ()  # (header, rows)


@dataclass(frozen=True, slots=True)
class Site:
    """The board with everything that is named or linked given a unique name and file."""

    board: Board
    names: Mapping[str, str]  # candidate id -> unique name
    task_files: Mapping[str, str]  # task -> page
    sweep_files: Mapping[str, str]  # rm_id -> page
    built: str
    version: str
    database: str
    extra: Extra | None = None

    def name(self, candidate: Candidate) -> str:
        return self.names[candidate.id]

    def stem(self, task: TaskBoard) -> str:
        """What the names of a task's other files start from."""
        return self.task_files[task.name].removeprefix("task-").removesuffix(".html")

    def sources(self, task: TaskBoard) -> list[Mapping[str, Any]]:
        """Where the task's ranked data came from, each source once; `other`: not the published file."""
        seen = {str(s.get("sha256")): s for e in (task.ranked or task.apart) for s in e.run["sources"]}
        return [{**s, "other": unlike_published(s, task.name)} for s in seen.values()]


def unique_names(candidates: Iterable[Candidate]) -> dict[str, str]:
    """id -> name, of bearable length; where two candidates look the same, the start of the id is added."""
    shown = {c.id: view.shorten(c.name, view.NAME) or "(no name)" for c in candidates}
    repeats = Counter(shown.values())
    return {key: name if repeats[name] == 1 else f"{name} · {view.short(key, 8)}" for key, name in shown.items()}


def unique_files(names: Iterable[str], prefix: str) -> dict[str, str]:
    """name -> file name, numbered where two would be the same on a file system that ignores case."""
    taken: Counter[str] = Counter()
    files = {}
    for name in names:
        stem = view.slug(name)
        taken[stem] += 1
        files[name] = f"{prefix}-{stem}{f'-{taken[stem]}' if taken[stem] > 1 else ''}.html"
    return files


def unlike_published(source: Mapping[str, Any], task: str) -> bool:
    """Whether data that have a published file are another one; a task or a pool of one's own has none."""
    name = str(source.get("name"))
    return not source.get("pinned") and name != task and not name.startswith("pool ")


def run_anchor(entry: Entry) -> str:
    """The run's place on the provenance page."""
    return f"run-{view.short(entry.run['id'])}"


def key_name(key: str) -> str:
    """`section/Chat Hard` -> "Chat Hard"; the headline is "Score"."""
    if key == "score":
        return "Score"
    return key.split("/", 1)[1] if "/" in key else key.replace("_", " ")


def group_title(kind: str) -> str:
    return _GROUPS.get(kind, kind.replace("_", " ").capitalize())


def score_cell(score: Score | None) -> dict[str, Any] | None:
    """Value and interval of one table cell; None where the run has no such value."""
    if score is None:
        return None
    return {
        "v": f"{score.value:.5f}",
        "text": view.percent(score.value),
        "ci": view.interval(score.low, score.high),
        "n": view.number(score.n),
    }


def difference_cell(c: Comparison | None) -> dict[str, Any] | None:
    """A metric's difference to the baseline; p adjusted over the candidates (Holm)."""
    if c is None or not c.n:
        return None
    return _difference(c.difference, c.low, c.high, c.p_adjusted, c.mde)


def pair_cell(pair: Pair | None, exact: Comparison | None = None) -> dict[str, Any] | None:
    """The headline's difference; p adjusted over all pairs (max-T), `exact` the unadjusted test of this pair."""
    if pair is None:
        return None
    cell = _difference(pair.difference, pair.low, pair.high, pair.p, pair.mde)
    if exact is not None and exact.n:
        cell["title"] += f"; this pair alone ({METHODS.get(exact.method, exact.method)}): {view.p_sentence(exact.p)}"
    return cell


METHODS = {"mcnemar": "exact McNemar test", "midp": "mid-p McNemar test", "signflip": "sign-flip permutation test"}


def _difference(value: float, low: float, high: float, p: float, mde: float) -> dict[str, Any]:
    """Direction as a symbol where it is significant, otherwise the smallest difference that would be seen."""
    mark = "" if not p < view.ALPHA else "▲" if value > 0 else "▼"
    limit = "nothing is detectable with so few examples" if math.isnan(mde) else f"detectable from {view.percent(mde)}"
    ends = f"95% interval {view.points(low)} to {view.points(high)}"
    told = f"{view.points(value)} points, {ends}, adjusted {view.p_sentence(p)}"
    return {
        "v": f"{value:.5f}",
        "text": view.points(value),
        "ci": f"{view.points(low)} to {view.points(high)}",
        "p": view.p_value(p),
        "mark": mark,
        "sense": {"": "not separable", "▲": "better", "▼": "worse"}[mark],
        "mde": view.percent(mde),
        "title": told if mark else f"{told}; {limit}",
        "seen": "" if mark else f"mde {view.percent(mde)}",
    }


def strip_scale(task: TaskBoard) -> tuple[float, float]:
    """The common scale of a task's strips: from the lowest to the highest end of its intervals."""
    ends = [(e.score.low, e.score.high) for e in task.ranked if e.score]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 1.0)


def strip(entry: Entry, scale: tuple[float, float]) -> Any:
    return charts.strip(entry.score.value, entry.score.low, entry.score.high, scale) if entry.score else ""


def count_notes(*entries: Entry) -> list[str]:
    """Ties, cut, unscored and undecidable examples, those that are not zero, summed over the entries."""
    words = {
        "ties": "tied",
        "cut": "cut",
        "unscored": "unscored",
        "unlabelled": "with unknown labels",
        "undetermined": "decided by rounding",
        "conflicts": "rewards of which another database has another value",
    }
    totals = {what: sum(e.counts.get(name, 0) for e in entries) for name, what in words.items()}
    return [f"{view.number(k)} {what}" for what, k in totals.items() if k]
