"""Where every number comes from: one block a run, with hashes, versions, seed and the command that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from leaderboard import view
from leaderboard.board import Entry, TaskBoard
from leaderboard.pages import _common as common
from leaderboard.pages._common import Site


def provenance(site: Site) -> dict[str, Any]:
    """Runs by task; facts that all of them share are told once, by the page's footer."""
    return {
        "groups": [
            {"name": task.name, "runs": [_run(site, task, e) for e in (*task.ranked, *task.apart)]}
            for task in site.board.tasks
        ]
    }


def _run(site: Site, task: TaskBoard, e: Entry) -> dict[str, Any]:
    run = e.run
    return {
        "anchor": common.run_anchor(e),
        "name": site.name(e.candidate),
        "task": task.name,
        "facts": [
            ("Status", e.reason or "complete, ranked"),
            ("Candidate", f"{run['candidate_id']} ({run['kind']})"),
            *_recipe(e),
            ("Data set", run["dataset_id"]),
            *(("Source", _source(s, task.name)) for s in run["sources"]),
            *_scores(run["environment"]),
            ("Options", _pairs(run["options"])),
            ("Protocol", f"{run['protocol_id']} · {_pairs(run['protocol'])}"),
            ("Versions", _pairs(run["environment"].get("versions") or {})),
            ("Machine", _pairs({k: v for k, v in run["environment"].items() if k not in ("versions", "scores")})),
            ("Seed", str(run["seed"])),
            ("Time", f"{view.moment(run['started'])} to {view.moment(run['ended'])}"),
            ("Notes", " ".join(str(n) for n in run["notes"])),
        ],
        "command": str(run["command"]),
    }


def _recipe(e: Entry) -> list[tuple[str, str]]:
    c = e.candidate
    if c.kind != "merge":
        return []
    weights = ", ".join(f"{name} × {view.lam(weight)}" for name, weight in c.experts)
    recipe = f"{c.rm} + {weights} · {c.method} ({c.formula}) · λ {view.lam(c.lam)}"
    experts = e.run["detail"].get("experts")
    parents = [str(x.get("id")) for x in experts if isinstance(x, Mapping)] if isinstance(experts, list) else []
    return [("Recipe", recipe), ("Parents", ", ".join([c.rm_id, *parents]))]


def _scores(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The file that imported rewards were read from."""
    file = environment.get("scores")
    return [("Scores", f"{file.get('name')}, sha256 {file.get('sha256')}")] if isinstance(file, Mapping) else []


def _source(source: Mapping[str, Any], task: str) -> str:
    pinned = "the pinned file" if source.get("pinned") else "no published file"
    if common.unlike_published(source, task):
        pinned = "NOT the file this release was checked with"
    revision = f" at {source['revision']}" if source.get("revision") else ""
    return f"{source.get('name')}: {source.get('location')}{revision}, sha256 {source.get('sha256')} ({pinned})"


def _pairs(values: Mapping[str, Any]) -> str:
    shown = [
        f"{k}={v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str)}" for k, v in values.items()
    ]
    return ", ".join(shown)
