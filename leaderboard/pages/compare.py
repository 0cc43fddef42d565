"""Compare: two candidates on one task, example by example. The page holds the list of shards; they hold the texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leaderboard import view
from leaderboard.pages._common import Site
from leaderboard.shards import TaskShards, manifest


def compare_page(site: Site, shards: Mapping[str, TaskShards]) -> dict[str, Any]:
    """Tasks with at least two ranked candidates; `data` is read by compare.js."""
    listed = [t for t in site.board.tasks if t.name in shards]
    data = {
        name: entry
        | {
            "outcome": task.measured[task.ranked[0].candidate.id].data.outcome,
            "candidates": [
                {
                    "id": e.candidate.id[:16],
                    "name": view.visible(site.name(e.candidate)),
                    "score": view.percent(e.score.value if e.score else None),
                    "files": entry["runs"][e.candidate.id],
                }
                for e in task.ranked
            ],
            "baseline": task.baseline.candidate.id[:16] if task.baseline else "",
        }
        for task in listed
        for name, entry in manifest([(task.name, shards[task.name])]).items()
    }
    for entry in data.values():
        del entry["runs"]
    return {"tasks": [t.name for t in listed], "data": data}
