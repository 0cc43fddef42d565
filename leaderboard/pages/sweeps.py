"""Sweeps of one reward model: every metric over lambda, all recipes overlaid, and what choosing a lambda is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leaderboard import significance, view
from leaderboard._candidates import Line, Sweep
from leaderboard._errors import LeaderboardError
from leaderboard.board import TaskBoard
from leaderboard.pages import _common as common
from leaderboard.pages._common import Site
from leaderboard.pages.overview import panel, sweep_name

RESAMPLES = 4000  # for each recipe and metric; the page says so


def sweep_page(site: Site, sweep: Sweep, notify: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Everything that a sweep's page shows."""
    name = sweep_name(site, sweep)
    notify(f"{name}: choosing λ honestly")
    tasks = []
    for task in site.board.tasks:
        panels = [p for key in ["score", *task.main_keys] if (p := panel(task, key, sweep))]
        choices = [_choice(task, line, key) for line in sweep.lines for key in ["score", *task.main_keys]]
        if panels:
            tasks.append({"name": task.name, "panels": panels, "choices": [c for c in choices if c]})
    return {
        "rm": name,
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


def _choice(task: TaskBoard, line: Line, key: str) -> dict[str, Any] | None:
    """The lambda with the highest value of a metric and what can honestly be said of it; None without data."""
    held = [(x, task.measured[c.id]) for x, c in line.points if c.id in task.measured]
    if len(held) < 2:
        return None
    shown = {"recipe": line.label, "metric": common.key_name(key)}
    reference = next((i for i, (x, _) in enumerate(held) if x == 0), None)
    if reference is None:
        return shown | {"missing": "λ = 0 was not measured: there is nothing to hold the choice against"}
    try:
        found = significance.sweep([m for _, m in held], key, reference=reference, resamples=RESAMPLES)
    except LeaderboardError as error:
        return shown | {"missing": str(error)}
    sure = found.p < view.ALPHA
    return shown | {
        "missing": "",
        "lam": view.lam(held[found.best][0]),
        "p": view.p_value(found.p),
        "mark": "" if not sure or found.best == reference else "▲",
        "effect": view.points(found.effect),
        "ci": f"{view.points(found.low)} to {view.points(found.high)}",
        "corrected": view.points(found.bias_corrected),
        "optimistic": view.points(found.optimistic),
    }
