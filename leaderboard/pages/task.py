"""One task: the ranking with its comparisons, sections and subsets, Best-of-N curves, and the significance matrix."""

from __future__ import annotations

from typing import Any

from leaderboard import charts, view
from leaderboard.board import Entry, TaskBoard
from leaderboard.compare import Comparison
from leaderboard.metrics import CURVES
from leaderboard.pages import _common as common
from leaderboard.pages._common import Site
from leaderboard.pages.overview import numbers, says, table

CURVE_NAMES = {
    "bon": "Best-of-N",
    "oracle": "oracle (pass@N)",
    "majority": "majority vote",
    "first": "first N samples",
}
LEADERS = 2  # candidates drawn beside the baseline; the table has all


def task_page(site: Site, task: TaskBoard) -> dict[str, Any]:
    """Everything that a task's page shows."""
    groups = _groups(task)
    first = task.ranked[0] if task.ranked else (task.apart[0] if task.apart else None)
    return {
        "name": task.name,
        "says": says(site, task),
        "facts": _facts(task, first),
        "notes": list(dict.fromkeys(str(n) for e in (*task.ranked, *task.apart) for n in e.run["notes"])),
        "baseline": site.name(task.baseline.candidate) if task.baseline else "",
        "tie": _tie(task),
        "rows": [_row(site, task, e) for e in task.ranked],
        "groups": [
            {
                "title": title,
                "scores": table(site, task, keys),
                "differences": _differences(site, task, keys),
                "folded": title == common.group_title("subset"),
            }
            for title, keys in groups
        ],
        "curves": _curves(site, task),
        "matrix": _matrix(site, task),
        "trouble": task.trouble,
        "apart": [
            {"name": site.name(e.candidate), "reason": e.reason, "run": common.run_anchor(e)} for e in task.apart
        ],
        "compare": bool(len(task.ranked) > 1),
    }


def _groups(task: TaskBoard) -> list[tuple[str, list[str]]]:
    """Metric keys by their kind, in the task's order, subsets last."""
    kinds = list(dict.fromkeys(k.split("/", 1)[0] for k in task.keys if "/" in k))
    kinds = [k for k in kinds if k not in (*CURVES, "subset")] + (["subset"] if len(task.group("subset")) > 1 else [])
    found = [(common.group_title(kind), task.group(kind)) for kind in kinds]
    plain = [k for k in task.keys if "/" not in k and k not in ("score", "random")]
    return found + ([("Other scores", plain)] if plain else [])


def _facts(task: TaskBoard, first: Entry | None) -> list[tuple[str, str]]:
    if first is None:
        return []
    run, c = first.run, first.counts
    shared = task.standing.data if task.standing else None
    facts = [
        ("Examples", f"{view.number(c.get('examples', 0))}, {view.number(c.get('outcomes', 0))} of them count"),
        ("Options", ", ".join(f"{k}={v}" for k, v in run["options"].items())),
        ("Data set", str(run["dataset_id"])),
    ]
    if shared is not None:
        repeats = "" if shared.units == shared.n else f", {view.number(shared.units)} distinct problems among them"
        facts.append(
            ("Compared on", f"{view.plural(shared.n, 'example')} with an outcome in every ranked run{repeats}")
        )
        if shared.dropped:
            facts.append(
                ("Left out", f"{view.plural(shared.dropped, 'example')} that some candidate has no outcome for")
            )
        facts.append(("Resampling", f"{view.number(shared.resamples)} bootstraps and sign flips, seed {shared.seed}"))
    return [(name, text) for name, text in facts if text]


def _tie(task: TaskBoard) -> str:
    """What a tie between correct and wrong responses counts as, by the outcome of the headline."""
    if any(m.data.outcome == "best_of_n" for m in task.measured.values()):
        return "and it counts as the share of the tied responses that are correct"
    return "and it counts as lost"


def _row(site: Site, task: TaskBoard, e: Entry) -> dict[str, Any]:
    against = e.against.get("score")
    rank = task.rank(e)
    return {
        "name": site.name(e.candidate),
        "run": common.run_anchor(e),
        "base": task.baseline is e,
        "score": common.score_cell(e.score),
        "strip": common.strip(e, common.strip_scale(task)),
        "rank": view.rank_range(rank),
        "best": rank is not None and rank[0] == 1,
        "diff": common.difference_cell(against),
        "test": _test(against),
        "counts": {name: view.number(e.counts.get(name, 0)) for name in COUNTED},
    }


COUNTED = ("ties", "decisive_ties", "cut", "unscored", "unlabelled", "undetermined")


def _test(c: Comparison | None) -> dict[str, str] | None:
    """The pair's own test, before adjustment."""
    if c is None or not c.n:
        return None
    return {
        "p": view.p_value(c.p),
        "method": common.METHODS.get(c.method, c.method).removesuffix(" test"),
        "wins": f"{view.number(c.wins)} : {view.number(c.losses)}",
    }


def _differences(site: Site, task: TaskBoard, keys: list[str]) -> list[dict[str, Any]]:
    """One row a candidate other than the baseline: its differences on these metrics."""
    return [
        {
            "name": site.name(e.candidate),
            "run": common.run_anchor(e),
            "cells": [common.difference_cell(e.against.get(k)) for k in keys],
        }
        for e in task.ranked
        if e.against
    ]


def _curves(site: Site, task: TaskBoard) -> dict[str, Any] | None:
    """Best-of-N over N: the leaders and the baseline, between what no reward model can beat and chance."""
    sizes = sorted({int(k.split("/", 1)[1]) for k in task.group("bon")})
    if len(sizes) < 2 or not task.ranked:
        return None
    shown = list(task.ranked[:LEADERS])
    if task.baseline is not None and task.baseline not in shown:
        shown.append(task.baseline)
    series = [_series(e, "bon", sizes, site.name(e.candidate)) for e in shown]
    best = task.ranked[0]
    sampled = task.measured[best.candidate.id].data.outcome == "best_of_n"  # else the order means nothing
    reference = [_series(best, kind, sizes, CURVE_NAMES[kind]) for kind in ("oracle", "majority")]
    drawn = [s for s in (*series, *reference) if s.points]
    first = [_series(best, kind, sizes, CURVE_NAMES[kind]) for kind in ("bon", "first")] if sampled else []
    chance = best.scores.get("random")
    return {
        "svg": charts.line_chart(drawn, x_title="N", title=f"{task.name}: percent correct against N", log=True),
        "table": numbers(drawn, "N"),
        "first": _first_samples(task, first, site.name(best.candidate)) if first else None,
        "random": view.percent(chance.value) if chance else "",
        "all": table(site, task, task.group("bon")),
        "firsts": table(site, task, task.group("first")) if first else None,
    }


def _first_samples(task: TaskBoard, series: list[charts.Series], leader: str) -> dict[str, Any]:
    """What one nested prefix of the samples says, beside the exact expectation."""
    title = f"{task.name}: exact Best-of-N and the first N samples, {leader}"
    return {
        "leader": leader,
        "svg": charts.line_chart(series, x_title="N", title=title, log=True),
        "table": numbers(series, "N"),
    }


def _series(e: Entry, kind: str, sizes: list[int], name: str) -> charts.Series:
    found = [(n, e.scores.get(f"{kind}/{n}")) for n in sizes]
    return charts.Series(name, [charts.Point(n, s.value, s.low, s.high) for n, s in found if s is not None])


def _matrix(site: Site, task: TaskBoard) -> dict[str, Any] | None:
    """Row against column: a symbol, and the numbers in words for hover, focus and tap."""
    if task.standing is None:
        return None
    rows = []
    for i, e in enumerate(task.ranked):
        cells: list[dict[str, str] | None] = []
        for j in range(len(task.ranked)):
            if i == j:
                cells.append(None)
                continue
            pair = task.standing.pair(i, j)
            seen = "" if pair.sign else f", mde {view.percent(pair.mde)}"
            cells.append(
                {
                    "sign": "·▲▼"[pair.sign],
                    "class": {0: "", 1: "up", -1: "down"}[pair.sign],
                    "text": f"{view.points(pair.difference)}, {view.p_sentence(pair.p)}{seen}",
                }
            )
        rows.append({"number": i + 1, "name": site.name(e.candidate), "cells": cells})
    return {"rows": rows, "pairs": view.plural(len(rows) * (len(rows) - 1) // 2, "pair")}
