"""Sweeps of one reward model: every metric over lambda, all recipes overlaid, and what choosing a lambda is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard import significance, view
from leaderboard._candidates import Line, Sweep
from leaderboard._errors import LeaderboardError
from leaderboard.board import Board, TaskBoard
from leaderboard.pages import _common as common
from leaderboard.pages._common import Site
from leaderboard.pages.overview import panel, sweep_name
from leaderboard.stats.selection import Selection

RESAMPLES = 4000  # for each recipe and metric; the page says so


@dataclass(frozen=True, slots=True)
class Choice:
    """The lambda with the highest value of one metric, picked from one recipe's line."""

    task: str
    recipe: str
    key: str
    lam: float | None = None  # the winner; None where there is nothing to hold it against
    found: Selection | None = None
    missing: str = ""  # why there is no choice

    @property
    def sure(self) -> bool:
        """Significantly better than lambda 0, adjusted for the whole sweep."""
        return self.found is not None and self.found.p < view.ALPHA


def choices(board: Board, sweep: Sweep) -> list[Choice]:
    """What can honestly be said of the best lambda of every task, recipe and main metric that has two points."""
    made = [
        _choice(task, line, key)
        for task in board.tasks
        for line in sweep.lines
        for key in ["score", *task.main_keys]
    ]  # fmt: skip
    return [choice for choice in made if choice]


def sweep_page(site: Site, sweep: Sweep, chosen: Sequence[Choice]) -> dict[str, Any]:
    """Everything that a sweep's page shows; `chosen` is what `choices` says of it."""
    tasks = []
    for task in site.board.tasks:
        panels = [p for key in ["score", *task.main_keys] if (p := panel(task, key, sweep))]
        if panels:
            rows = [_row(choice) for choice in chosen if choice.task == task.name]
            tasks.append({"name": task.name, "panels": panels, "choices": rows})
    return {
        "rm": sweep_name(site, sweep),
        "rm_id": sweep.rm_id,
        "tasks": tasks,
        "recipes": [_recipe(site, line) for line in sweep.lines],
        "resamples": view.number(RESAMPLES),
    }


def _recipe(site: Site, line: Line) -> dict[str, Any]:
    return {
        "name": line.label,
        "method": line.method,
        "formula": line.formula,
        "weights": [
            {
                "lam": view.lam(x),
                "name": site.name(c),
                "id": c.id,
                "experts": ", ".join(f"{n} × {view.lam(w)}" for n, w in c.experts) or "none",
            }
            for x, c in line.points
        ],
    }


def _choice(task: TaskBoard, line: Line, key: str) -> Choice | None:
    """The lambda with the highest value of a metric and what can honestly be said of it; None without data."""
    held = [(x, task.measured[c.id]) for x, c in line.points if c.id in task.measured]
    if len(held) < 2:
        return None
    reference = next((i for i, (x, _) in enumerate(held) if x == 0), None)
    if reference is None:
        why = "λ = 0 was not measured: there is nothing to hold the choice against"
        return Choice(task.name, line.label, key, missing=why)
    try:
        found = significance.sweep([m for _, m in held], key, reference=reference, resamples=RESAMPLES)
    except LeaderboardError as error:
        return Choice(task.name, line.label, key, missing=str(error))
    return Choice(task.name, line.label, key, held[found.best][0], found)


def _row(choice: Choice) -> dict[str, Any]:
    shown = {"recipe": choice.recipe, "metric": common.key_name(choice.key), "missing": choice.missing}
    found = choice.found
    if found is None:
        return shown
    return shown | {
        "lam": view.lam(choice.lam),
        "p": view.p_value(found.p),
        "mde": "" if choice.sure else view.percent(found.mde),
        "mark": "▲" if choice.sure else "",
        "effect": view.points(found.effect),
        "ci": f"{view.points(found.low)} to {view.points(found.high)}",
        "corrected": view.points(found.bias_corrected),
        "optimistic": view.points(found.optimistic),
    }
