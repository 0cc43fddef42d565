"""Exports: what was measured, read back by others; nights append; files are whole."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from stored import dataset, example, fill

from results import queries
from results.export import ExportRequest, export
from results.records import StoreError
from results.store import Store

HOSTILE = 'a "quote", a comma\nand a line\u2028; \U0001f9ee'


def _fill(store: Store) -> list[tuple[str, str, float]]:
    fill(store, dataset(), "m")
    fill(store, dataset(task="it's a task", examples=[example(0, example_id=HOSTILE)]), "n")
    return [(run["id"], "score", 0.5) for run in queries.runs(store)]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_parquet_is_one_file_a_table_night_and_task(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(store, ExportRequest(out, night="2026-07-01", name="gpu1"), _fill(store))
    assert _files(out) == [
        "metrics/night=2026-07-01/gpu1.parquet",
        "rewards/night=2026-07-01/task=it%27s%20a%20task/gpu1.parquet",
        "rewards/night=2026-07-01/task=pairs/gpu1.parquet",
        "runs/night=2026-07-01/gpu1.parquet",
    ]
    rows = pq.read_table(out / "rewards/night=2026-07-01/task=pairs/gpu1.parquet", partitioning=None).to_pylist()
    assert [(r["example_id"], r["response"], r["reward"], r["correct"]) for r in rows[:3]] == [
        ("0", 0, 0.0, True), ("0", 1, 1.0, False), ("1", 0, 2.0, True)
    ]  # fmt: skip
    assert len(rows) == 6


def test_nights_append_and_one_glob_reads_them_all(store: Store, tmp_path: Path) -> None:
    metrics = _fill(store)
    for night in ("2026-07-01", "2026-07-02", "2026-07-02"):
        export(store, ExportRequest(tmp_path, night=night), metrics)
    export(store, ExportRequest(tmp_path, night="2026-07-02", name="other"), metrics)
    found = duckdb.sql(
        f"SELECT night::VARCHAR, task, count(*) FROM read_parquet('{tmp_path}/rewards/**/*.parquet',"
        " hive_partitioning=true) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert found == [
        ("2026-07-01", "it's a task", 2), ("2026-07-01", "pairs", 6),
        ("2026-07-02", "it's a task", 4), ("2026-07-02", "pairs", 12),
    ]  # fmt: skip


def test_equal_content_gives_equal_files(store: Store, tmp_path: Path) -> None:
    metrics = _fill(store)
    written = [export(store, ExportRequest(tmp_path / x, night="2026-07-01"), metrics) for x in "ab"]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]


def test_csv_and_json_hold_the_same_rows(store: Store, tmp_path: Path) -> None:
    metrics = _fill(store)
    for form in ("csv", "json"):
        export(store, ExportRequest(tmp_path, form), metrics)
    with (tmp_path / "rewards.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    lines = (tmp_path / "rewards.jsonl").read_text(encoding="utf-8").split("\n")
    objects: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    assert [row["example_id"] for row in table] == [row["example_id"] for row in objects]
    assert [float(row["reward"]) for row in table] == [row["reward"] for row in objects]
    assert table[0]["example_id"] == HOSTILE
    with (tmp_path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["metric"], float(row["value"])) for row in csv.DictReader(file)] == [("score", 0.5)] * 2


def test_texts_only_on_request(store: Store, tmp_path: Path) -> None:
    metrics = _fill(store)
    export(store, ExportRequest(tmp_path / "a", "json"), metrics)
    export(store, ExportRequest(tmp_path / "b", "json", texts=True), metrics)
    assert "right 0" not in "".join(p.read_text() for p in (tmp_path / "a").iterdir())
    rows = [json.loads(line) for line in (tmp_path / "b" / "examples.jsonl").read_text().strip().split("\n")]
    assert next(row["responses"] for row in rows if row["task"] == "pairs") == ["right 0", "wrong 0"]


def test_an_empty_database_exports_headers(store: Store, tmp_path: Path) -> None:
    export(store, ExportRequest(tmp_path / "out", "csv"))
    assert (tmp_path / "out" / "rewards.csv").read_text().startswith("run_id,candidate_id,candidate,task")


def test_a_full_disk_leaves_no_part_behind(store: Store, small_disk: Any) -> None:
    metrics = _fill(store)
    (small_disk.folder / "ballast").write_bytes(b"x" * ((4 << 20) - 8192))
    with pytest.raises(StoreError) as caught:
        export(store, ExportRequest(small_disk.folder / "out", night="2026-07-01"), metrics)
    assert "\n" not in str(caught.value)
    assert not [path for path in _files(small_disk.folder) if "part" in path]


def test_a_folder_that_cannot_be_made(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export(store, ExportRequest(tmp_path / "file", "csv"))


def test_export_command(harness: Any, store: Store) -> None:
    _fill(store)
    store.sql.close()
    done = harness("export", "--db", store.path, "--format", "csv", "-o", "out", "--json")
    assert len(json.loads(done.stdout)["files"]) == 3
    for arguments, says in (
        (("--format", "parket"), "did you mean 'parquet'"),
        (("--night", "yesterday"), "expected a date"),
        (("--db", "nothing.duckdb"), "no such database"),
    ):
        done = harness("export", "--db", store.path, *arguments)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
