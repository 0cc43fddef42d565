"""Downloads: three formats with the same rows, values that recompute, and cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from leaderboard.downloads import write_table
from leaderboard.history import build_history
from leaderboard.metrics import metric_values
from leaderboard.render import build_site
from results import queries
from results.store import open_store


@pytest.fixture(scope="module")
def made(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("downloads")
    spec = synthetic.Spec(synthetic.sweep(3), tasks=["autoj", "gsm8k_bon"], scale=0.05)
    db = synthetic.write_database(folder / "h.duckdb", spec)
    return db, build_site(db, folder / "site").parent


def test_the_three_formats_agree(made: tuple[Path, Path]) -> None:
    for table in ("scores", "pairs", "sweeps", "choices", "history"):
        as_json = json.loads((made[1] / "data" / f"{table}.json").read_text())
        as_parquet = pq.read_table(made[1] / "data" / f"{table}.parquet").to_pylist()
        with (made[1] / "data" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            as_csv = list(csv.DictReader(file))
        assert as_json == as_parquet
        assert [list(row) for row in as_csv[:1]] == [list(row) for row in as_json[:1]]
        assert len(as_csv) == len(as_json) > 0


def test_scores_are_the_metrics_of_the_stored_rewards(made: tuple[Path, Path]) -> None:
    rows = json.loads((made[1] / "data" / "scores.json").read_text())
    with open_store(made[0], read_only=True) as store:
        for run in queries.runs(store, latest=True):
            mine = {row["metric"]: row["value"] for row in rows if row["run"] == run["id"]}
            assert mine == metric_values(queries.run_rewards(store, run))


def test_all_rewards_of_what_can_be_compared_are_there(made: tuple[Path, Path]) -> None:
    with open_store(made[0], read_only=True) as store:
        for task, file in {"autoj": "autoj", "gsm8k_bon": "gsm8k-bon"}.items():
            rows = pq.read_table(made[1] / "data" / f"rewards-{file}.parquet").to_pylist()
            runs = [r for r in queries.runs(store, latest=True) if r["task"] == task and r["status"] == "complete"]
            assert len(runs) > 1
            for run in runs:
                data = queries.run_rewards(store, run)
                mine = [row for row in rows if row["candidate_id"] == run["candidate_id"]]
                assert [row["reward"] for row in mine] == data.rewards.tolist()
                assert [{True: 1, False: 0, None: -1}[row["label"]] for row in mine] == data.labels.tolist()
                places = [(row["example_id"], row["response"]) for row in mine]
                sizes = (data.offsets[1:] - data.offsets[:-1]).tolist()
                assert places == [(e, i) for e, n in zip(data.example_ids, sizes, strict=True) for i in range(n)]


def test_formulas_are_disarmed_in_csv_only(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_table(tmp_path, "t", [{"name": "=1+1", "x": -0.5, "n": float("nan"), "odd": "\ud800"}])
    assert (tmp_path / "data" / "t.csv").read_text().splitlines()[1] == "'=1+1,-0.5,,?"
    assert json.loads((tmp_path / "data" / "t.json").read_text())[0]["name"] == "=1+1"
    assert pq.read_table(tmp_path / "data" / "t.parquet").to_pylist()[0]["n"] is None


def _run(name: str, day: int, **changes: Any) -> dict[str, Any]:
    base = {"candidate": name, "task": "toy", "status": "complete", "notes": [], "options": {}, "sources": []}
    ids = {"id": f"{name}{day}", "candidate_id": "c", "dataset_id": "d", "protocol_id": "p"}
    return base | ids | {"started": datetime(2026, 1, day)} | changes


def test_history_marks_what_changed_and_leaves_partial_runs_out(make_run: Any) -> None:
    runs = [
        _run("a", 1),
        _run("a", 2, dataset_id="d2"),
        _run("b", 2),
        _run("a", 3, dataset_id="d2", candidate_id="c2", protocol_id="p2"),
        _run("a", 4, status="partial"),
    ]
    history = build_history(runs, {}, lambda _: make_run([[1, 0], [0, 1]], [[1, 0], [1, 0]]))
    assert [(t.name, len(t.moments)) for t in history.tracks] == [("a", 3), ("b", 1)]
    assert [m.changed for m in history.tracks[0].moments] == [(), ("data",), ("model", "protocol")]
    assert {m.score.value for m in history.tracks[0].moments} == {0.5}


def test_history_keeps_the_newest_of_too_many_runs(make_run: Any) -> None:
    runs = [_run("a", day) for day in range(1, 11)]
    history = build_history(runs, {}, lambda _: make_run([[1, 0]], [[1, 0]]), limit=3)
    assert [m.run["started"].day for m in history.tracks[0].moments] == [8, 9, 10]
    assert history.left_out == 7
