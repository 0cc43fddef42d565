"""The overview: what the data say in one sentence a task, one row a candidate, sweeps, and what is kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from leaderboard import charts, view
from leaderboard._candidates import Candidate, Sweep
from leaderboard.board import Entry, TaskBoard
from leaderboard.pages import _common as common
from leaderboard.pages._common import Site


class Level(NamedTuple):
    """How much the overview holds; the rest is on the task and sweep pages, because the page has a budget."""

    sections: bool = True
    panels: bool = True  # a curve for each section; the headline's are always there
    subsets: bool = True
    intervals: bool = True  # of subsets


LEVELS = (
    Level(),
    Level(intervals=False),
    Level(subsets=False),
    Level(panels=False, subsets=False),
    Level(sections=False, panels=False, subsets=False),
)


def overview(site: Site, level: Level = LEVELS[0]) -> dict[str, Any]:
    """Everything that index.html shows at a level of detail."""
    board = site.board
    return {
        "tasks": [_task(site, task) for task in board.tasks],
        "rows": [_row(site, c) for c in _order(site)],
        "size": f"{view.plural(len(board.candidates), 'candidate')} · {view.plural(len(board.tasks), 'task')}",
        "level": level,
        "with_recipe": any(c.lam is not None for c in board.candidates),
        "filters": _filters(site),
        "sweeps": [_sweep(site, sweep, level) for sweep in board.sweeps],
        "apart": [_apart(site, task, e) for task in board.tasks for e in task.apart],
        "baseline": _baseline(site),
    }


def _baseline(site: Site) -> dict[str, str] | None:
    base = site.board.baseline
    if base is None:
        return None
    why = "chosen with --baseline" if site.board.baseline_chosen else _default_reason(site, base)
    return {"name": site.name(base), "why": why}


def _default_reason(site: Site, base: Candidate) -> str:
    if any(c.rm_id == base.id for c in site.board.candidates):
        return "by default: the reward model that most merges start from"
    return "by default: the first " + ("checkpoint" if base.kind == "checkpoint" else "candidate")


def _order(site: Site) -> list[Candidate]:
    """Best first on the first task, then on the others; what is ranked nowhere comes last."""
    places: dict[str, list[float]] = {}
    for task in site.board.tasks:
        rank = {e.candidate.id: float(i) for i, e in enumerate(task.ranked)}
        for c in site.board.candidates:
            places.setdefault(c.id, []).append(rank.get(c.id, float("inf")))
    return sorted(site.board.candidates, key=lambda c: places[c.id])


def _task(site: Site, task: TaskBoard) -> dict[str, Any]:
    subsets = task.group("subset")
    mains = task.main_keys
    return {
        "name": task.name,
        "anchor": "task-" + view.slug(task.name),
        "file": site.task_files.get(task.name),
        "says": says(site, task),
        "n": view.plural(task.ranked[0].counts["outcomes"], "example") if task.ranked else "none ranked",
        "sections": table(site, task, ["score", *mains]),
        "subsets": table(site, task, subsets) if len(subsets) > 1 else None,
        "notes": list(dict.fromkeys(str(n) for e in task.ranked for n in e.run["notes"])),
    }


def table(site: Site, task: TaskBoard, keys: list[str]) -> dict[str, Any]:
    """One row a ranked candidate, one column a metric."""
    first = task.ranked[0] if task.ranked else None
    return {
        "columns": [
            {"key": k, "name": common.key_name(k), "n": _n(first, k)} for k in keys
        ],
        "rows": [
            {
                "name": site.name(e.candidate),
                "run": common.run_anchor(e),
                "base": task.baseline is e,
                "cells": [common.score_cell(e.scores.get(k)) for k in keys],
            }
            for e in task.ranked
        ],
    }  # fmt: skip


def _n(entry: Entry | None, key: str) -> str:
    score = entry.scores.get(key) if entry else None
    return view.number(score.n) if score else ""


def says(site: Site, task: TaskBoard) -> str:
    """What the task's data say: who leads and how surely, and how many differ from the baseline."""
    if not task.ranked:
        return "No complete run yet: nothing is ranked."
    if len(task.ranked) == 1:
        return "One complete run: there is nothing to compare it with."
    if task.standing is None:
        return f"Nothing can be compared: {task.trouble}"
    return f"{_lead_says(site, task)} {_baseline_says(task, task.ranked[0])}"


def _lead_says(site: Site, task: TaskBoard) -> str:
    best, count = task.ranked[0], len(task.ranked)
    value = best.score.value if best.score else None
    level = sum(e.score is not None and e.score.value == value for e in task.ranked)
    if level == count:
        return f"All {count} score the same ({view.percent(value)}): none can be ruled out as best."
    first = site.name(best.candidate)
    lead = f"{first} and {view.plural(level - 1, 'other')} score" if level > 1 else f"{first} scores"
    leaders = sum(task.standing.rank(i)[0] == 1 for i in range(count)) if task.standing else 0
    sure = "alone" if leaders == 1 else f"{'one ' if level == 1 else ''}of {leaders} that cannot be ruled out as best"
    return f"{lead} highest ({view.percent(value)}), {sure}."


def _baseline_says(task: TaskBoard, best: Entry) -> str:
    if task.baseline is None:
        return "The baseline has no complete run here, so differences to it are not shown."
    rows = [c for e in task.ranked if (c := e.against.get("score")) and c.n]
    better = sum(c.p_adjusted < view.ALPHA and c.difference > 0 for c in rows)
    worse = sum(c.p_adjusted < view.ALPHA and c.difference < 0 for c in rows)
    if not better + worse:
        seen = [c.mde for c in rows if c.mde == c.mde]
        limit = f"differences below about {view.percent(min(seen))} points would mostly go unseen" if seen else ""
        who = f"None of {len(rows)} others can" if len(rows) > 1 else "The other cannot"
        return f"{who} be told from the baseline: {limit or 'the examples are too few for any difference'}."
    told = f"Of {view.plural(len(rows), 'other')}, {better} significantly better than the baseline, {worse} worse."
    top = best.against.get("score")
    if top is None or not top.n:
        return told
    sure = f"Holm-adjusted {view.p_sentence(top.p_adjusted)}, {common.METHODS.get(top.method, top.method)}"
    picked = f", optimistic for the best of {len(rows) + 1}" if len(rows) > 1 else ""
    gain = f"{view.points(top.difference)} points{picked}"
    if top.p_adjusted < view.ALPHA:
        return f"{told} The leader beats it by {gain} ({sure})."
    return f"{told} The leader does not beat it significantly: {gain} ({sure}; mde {view.percent(top.mde)})."


def _row(site: Site, c: Candidate) -> dict[str, Any]:
    base = site.board.baseline
    return {
        "name": site.name(c),
        "id": view.short(c.id),
        "kind": c.kind,
        "note": common.KIND_NOTES.get(c.kind, ""),
        "expert": c.expert_names,
        "method": c.method,
        "lam": view.lam(c.lam),
        "base": base is not None and base.id == c.id,
        "counts": _counts(site, c),
        "best": any((e := t.entry(c.id)) and (r := t.rank(e)) and r[0] == 1 for t in site.board.tasks),
        "cells": [_cell(task, c) for task in site.board.tasks],
    }


def _cell(task: TaskBoard, c: Candidate) -> dict[str, Any]:
    """Score, difference and rank of a candidate on a task, or why there is none."""
    entry = task.entry(c.id)
    if entry is None:
        apart = next((e for e in task.apart if e.candidate.id == c.id), None)
        return {"missing": "kept apart" if apart else "not run", "why": apart.reason if apart else ""}
    rank = task.rank(entry)
    return {
        "missing": "",
        "score": common.score_cell(entry.score),
        "strip": common.strip(entry, common.strip_scale(task)),
        "run": common.run_anchor(entry),
        "diff": common.difference_cell(entry.against.get("score")),
        "rank": view.rank_range(rank),
        "rank_v": f"{rank[0]}.{rank[1]:04d}" if rank else "",
        "best": rank is not None and rank[0] == 1,
        "base": task.baseline is entry,
    }


def _counts(site: Site, c: Candidate) -> dict[str, str]:
    """Ties, cut, unscored and undecidable examples of a candidate over all tasks; where, on hover."""
    told = {t.name: notes for t in site.board.tasks if (e := t.entry(c.id)) and (notes := common.count_notes(e))}
    entries = [e for t in site.board.tasks if (e := t.entry(c.id))]
    return {
        "text": ", ".join(common.count_notes(*entries)) or ("none" if entries else ""),
        "title": "; ".join(f"{task}: {', '.join(notes)}" for task, notes in told.items()),
    }


def _filters(site: Site) -> dict[str, list[str]]:
    everyone = site.board.candidates
    return {
        "methods": list(dict.fromkeys(c.method for c in everyone if c.method)),
        "experts": list(dict.fromkeys(c.expert_names for c in everyone if c.experts)),
        "kinds": list(dict.fromkeys(c.kind for c in everyone)),
    }


def _sweep(site: Site, sweep: Sweep, level: Level) -> dict[str, Any]:
    panels = [(t, key) for t in site.board.tasks for key in ["score", *(t.main_keys if level.panels else ())]]
    drawn = [panel(task, key, sweep) for task, key in panels]
    return {
        "rm": sweep_name(site, sweep),
        "panels": [p for p in drawn if p],
        "file": site.sweep_files.get(sweep.rm_id),
    }


def sweep_name(site: Site, sweep: Sweep) -> str:
    """The reward model that a sweep starts from."""
    return sweep.rm or site.names.get(sweep.rm_id) or "a reward model"


def panel(task: TaskBoard, key: str, sweep: Sweep) -> dict[str, Any] | None:
    """One metric over lambda, every recipe of the sweep drawn over each other; None without a ranked point."""
    series = []
    for line in sweep.lines:
        found = [(x, task.entry(c.id)) for x, c in line.points]
        scores = [(x, e.scores[key]) for x, e in found if e is not None and key in e.scores]
        if scores:
            points = [charts.Point(x, s.value, s.low, s.high) for x, s in scores]
            series.append(charts.Series(line.label, points))
    if not series:
        return None
    name = common.key_name(key)
    title = f"{task.name}, {name}: percent against lambda for {', '.join(view.shorten(s.name, 40) for s in series)}"
    return {
        "task": task.name,
        "name": name,
        "svg": charts.line_chart(series, x_title="λ", title=title),
        "table": numbers(series, "λ"),
    }


def numbers(series: list[charts.Series], x_name: str) -> dict[str, Any]:
    """The numbers behind a chart: one row an x, one column a line."""
    xs = sorted({p.x for s in series for p in s.points})
    by: list[Mapping[float, charts.Point]] = [{p.x: p for p in s.points} for s in series]
    rows = []
    for x in xs:
        cells = [
            f"{view.percent(row[x].value)} ({view.interval(row[x].low, row[x].high)})" if x in row else "" for row in by
        ]
        rows.append([view.lam(x), *cells])
    return {"header": [x_name, *(s.name for s in series)], "rows": rows}


def _apart(site: Site, task: TaskBoard, e: Entry) -> dict[str, Any]:
    return {
        "name": site.name(e.candidate),
        "task": task.name,
        "status": str(e.run["status"]),
        "reason": e.reason,
        "score": common.score_cell(e.score),
        "counts": common.count_notes(e),
        "run": common.run_anchor(e),
        "others": [f"{common.key_name(k)} {view.percent(e.scores[k].value)}" for k in task.main_keys if k in e.scores],
    }
