"""The numbers of every view as files: CSV, JSON and Parquet with the same columns, full precision, fractions.

`scores` is every metric of every run, `pairs` the significance matrices, `sweeps` the lambda curves, `choices` the
best lambdas with their honest effects, `history` all nights. The compare page writes its own list, in the browser, as
CSV and JSON; `rewards` has all rewards of a task that any two candidates can be compared by, as Parquet only.
Text cells that a spreadsheet would run as a formula get an apostrophe in CSV.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboard.board import Entry, TaskBoard
from leaderboard.history import History
from leaderboard.pages._common import Site
from leaderboard.pages.sweeps import Choice

FORMATS = ("csv", "json", "parquet")
Row = dict[str, Any]


def write_downloads(
    folder: Path, site: Site, history: History, chosen: Mapping[str, Sequence[Choice]]
) -> dict[str, list[str]]:
    """Write all tables into `folder`/data; returns the files by table, empty tables left out.

    `chosen` is what `leaderboard.pages.sweeps.choices` says of each sweep, by reward model.
    """
    tables = {
        "scores": list(score_rows(site)),
        "pairs": list(pair_rows(site)),
        "sweeps": list(sweep_rows(site)),
        "choices": list(choice_rows(site, chosen)),
        "history": list(history_rows(history)),
    }
    (folder / "data").mkdir(exist_ok=True)
    files = {name: write_table(folder, name, rows) for name, rows in tables.items() if rows}
    compared = [task for task in site.board.tasks if len(task.ranked) > 1]
    return files | {f"rewards of {task.name}": [write_rewards(folder, site, task)] for task in compared}


def write_rewards(folder: Path, site: Site, task: TaskBoard) -> str:
    """Every reward of a task's ranked runs, a row each: what the compare page shows, without the texts."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"data/rewards-{site.stem(task)}.parquet"
    writer = None
    for e in task.ranked:
        data = task.measured[e.candidate.id].data
        counts = np.diff(data.offsets)
        example = np.repeat(np.arange(len(counts)), counts)
        columns = {
            "candidate": pa.repeat(site.name(e.candidate), len(example)),
            "candidate_id": pa.repeat(e.candidate.id, len(example)),
            "example_id": pa.array(data.example_ids).take(pa.array(example)),
            "subset": pa.array(data.subsets).take(pa.array(example)),
            "response": np.arange(len(example)) - np.repeat(data.offsets[:-1], counts),
            "reward": pa.array(data.rewards, mask=~data.scored),
            "label": pa.array(data.labels == 1, mask=data.labels < 0),
            "cut": data.cut,
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(folder / name, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return name


def write_table(folder: Path, name: str, rows: Sequence[Row]) -> list[str]:
    """One table in every format; all rows have the same columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    clean = [{key: _finite(value) for key, value in row.items()} for row in rows]
    names = [f"data/{name}.{kind}" for kind in FORMATS]
    with (folder / names[0]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(clean[0])
        writer.writerows([_spreadsheet(value) for value in row.values()] for row in clean)
    (folder / names[1]).write_text(json.dumps(clean, indent=0), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([_storable(row) for row in clean]), folder / names[2])
    return names


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _storable(row: Row) -> Row:
    return {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in row.items()}


def _spreadsheet(value: Any) -> Any:
    if not isinstance(value, str):
        return "" if value is None else repr(value) if isinstance(value, float) else value
    safe = value.encode("utf-8", "replace").decode().replace("\0", "␀")
    return f"'{safe}" if safe[:1] in "=+-@\t\r" and safe else safe


def score_rows(site: Site) -> Iterable[Row]:
    """Every metric of every run, ranked or not."""
    for task in site.board.tasks:
        for e in (*task.ranked, *task.apart):
            for key, score in e.scores.items():
                yield _who(site, task, e) | {
                    "metric": key,
                    "value": score.value,
                    "low": score.low,
                    "high": score.high,
                    "n": score.n,
                    **_against(e, key),
                    **_rank(task, e, key),
                }


def _who(site: Site, task: TaskBoard, e: Entry) -> Row:
    c = e.candidate
    return {
        "task": task.name,
        "candidate": site.name(c),
        "candidate_id": c.id,
        "kind": c.kind,
        "expert": c.expert_names,
        "method": c.method,
        "lambda": c.lam,
        "run": str(e.run["id"]),
        "dataset": str(e.run["dataset_id"]),
        "protocol": str(e.run["protocol_id"]),
        "seed": int(e.run["seed"]),
        "status": str(e.run["status"]),
        "not_ranked_because": e.reason,
        **{name: e.counts.get(name, 0) for name in ("ties", "cut", "unscored", "unlabelled", "undetermined")},
    }


def _against(e: Entry, key: str) -> Row:
    c = e.against.get(key)
    fields = ("difference", "low", "high", "p", "p_adjusted", "method", "mde", "wins", "losses")
    names = [name if name.startswith("difference") else f"difference_{name}" for name in fields]
    return {name: getattr(c, field) if c else None for name, field in zip(names, fields, strict=True)}


def _rank(task: TaskBoard, e: Entry, key: str) -> Row:
    rank = task.rank(e) if key == "score" and not e.reason else None
    return {"rank_low": rank[0] if rank else None, "rank_high": rank[1] if rank else None}


def pair_rows(site: Site) -> Iterable[Row]:
    """Every pair of ranked candidates once, the higher score first."""
    for task in site.board.tasks:
        if task.standing is None:
            continue
        for i, a in enumerate(task.ranked):
            for j in range(i + 1, len(task.ranked)):
                pair = task.standing.pair(i, j)
                yield {
                    "task": task.name,
                    "a": site.name(a.candidate),
                    "b": site.name(task.ranked[j].candidate),
                    "difference": pair.difference,
                    "low": pair.low,
                    "high": pair.high,
                    "p": pair.raw,
                    "p_adjusted": pair.p,
                    "mde": pair.mde,
                }


def sweep_rows(site: Site) -> Iterable[Row]:
    """Every point of every curve."""
    for sweep in site.board.sweeps:
        for line in sweep.lines:
            for lam, candidate in line.points:
                for task in site.board.tasks:
                    entry = task.entry(candidate.id)
                    for key, score in _points(entry).items():
                        yield {
                            "reward_model": sweep.rm,
                            "recipe": line.label,
                            "lambda": lam,
                            "candidate": site.name(candidate),
                            "task": task.name,
                            "metric": key,
                            "value": score.value,
                            "low": score.low,
                            "high": score.high,
                        }


def _points(entry: Entry | None) -> Mapping[str, Any]:
    return entry.scores if entry else {}


def choice_rows(site: Site, chosen: Mapping[str, Sequence[Choice]]) -> Iterable[Row]:
    """The best lambda of every recipe and metric that could be held against lambda 0."""
    fields = ("p", "mde", "effect", "low", "high", "bias_corrected", "optimistic")
    for sweep in site.board.sweeps:
        for c in chosen.get(sweep.rm_id, ()):
            if c.found is not None:
                what = {"reward_model": sweep.rm, "recipe": c.recipe, "task": c.task, "metric": c.key}
                yield what | {"best_lambda": c.lam} | {field: getattr(c.found, field) for field in fields}


def history_rows(history: History) -> Iterable[Row]:
    """Every night of every candidate."""
    for track in history.tracks:
        for m in track.moments:
            yield {
                "task": track.task,
                "candidate": track.name,
                "candidate_id": str(m.run["candidate_id"]),
                "run": str(m.run["id"]),
                "started": str(m.run["started"]),
                "value": m.score.value,
                "low": m.score.low,
                "high": m.score.high,
                "changed": ", ".join(m.changed),
            }
