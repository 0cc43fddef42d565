"""Results as files that travel: runs, metrics, rewards and (on request) texts, as Parquet, CSV or JSON Lines.

Parquet is laid out for a history that only grows: DIR/TABLE/night=DATE/[task=TASK/]NAME.parquet. Another night adds
files, the same night again replaces its own, and one glob reads all of them:

    SELECT night, task, avg(reward) FROM read_parquet('DIR/rewards/**/*.parquet', hive_partitioning=true) GROUP BY ALL

CSV and JSON are one file a table. Every file appears whole or not at all, and equal content gives equal rows in
equal order.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow as pa

from results._errors import explain
from results.records import StoreError
from results.store import Store

FORMATS = {
    "parquet": ("parquet", "FORMAT parquet, COMPRESSION zstd"),
    "csv": ("csv", "FORMAT csv, HEADER"),
    "json": ("jsonl", "FORMAT json"),
}

_RUN = """
runs r JOIN candidates c ON c.key = r.candidate JOIN protocols p ON p.key = r.protocol
JOIN datasets d ON d.key = r.dataset JOIN environments v ON v.key = r.environment
"""
_TABLES = {
    "runs": f"""
        SELECT r.id AS run_id, c.id AS candidate_id, c.name AS candidate, c.kind, d.task, r.status, r.reason, d.partial,
            d.id AS dataset_id, p.id AS protocol_id, p.settings AS protocol, c.detail AS candidate_detail,
            d.sources AS data_sources, d.options AS data_options, v.detail AS environment, r.seed, r.command,
            r.started, r.ended
        FROM {_RUN} WHERE r.id IN (SELECT id FROM chosen) ORDER BY d.task, c.id, r.id""",
    "metrics": f"""
        SELECT r.id AS run_id, c.id AS candidate_id, c.name AS candidate, d.task, r.status, m.metric, m.value
        FROM {_RUN} JOIN metrics m ON m.run_id = r.id
        WHERE r.id IN (SELECT id FROM chosen) ORDER BY d.task, c.id, r.id, m.metric""",
    "rewards": f"""
        SELECT r.id AS run_id, c.id AS candidate_id, c.name AS candidate, d.task, l.example_id, e.id AS example_key,
            l.subset, w.response, w.reward,
            CASE l.labels[w.response + 1] WHEN 1 THEN true WHEN 0 THEN false END AS correct,
            w.tokens, w.cut, w.reason
        FROM {_RUN} JOIN dataset_examples l ON l.dataset = r.dataset JOIN examples e ON e.key = l.example
            JOIN rewards w ON w.candidate = r.candidate AND w.protocol = r.protocol AND w.example = l.example
        WHERE r.id IN (SELECT id FROM chosen) ORDER BY d.task, c.id, r.id, l.position, w.response""",
    "examples": """
        SELECT d.task, d.id AS dataset_id, l.example_id, e.id AS example_key, l.subset, l.stratum, l.weight, l.cluster,
            e.prompt, e.responses, l.labels, l.answers, l.sources
        FROM dataset_examples l JOIN datasets d ON d.key = l.dataset JOIN examples e ON e.key = l.example
        WHERE d.key IN (SELECT dataset FROM chosen) ORDER BY d.task, d.id, l.position""",
}


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to write, and where."""

    folder: Path
    form: str = "parquet"  # a key of FORMATS
    night: str = ""  # ISO date of the Parquet partition
    name: str = "results"  # of the Parquet files: databases that share a history need names of their own
    texts: bool = False  # the examples' prompts and responses too
    runs: Collection[str] | None = None  # ids of the runs to write; None: all


def export(store: Store, request: ExportRequest, metrics: Sequence[tuple[str, str, float]] = ()) -> list[Path]:
    """Write the tables; `metrics` are (run id, metric, value). Returns the files. Raises StoreError."""
    ids, names, values = zip(*metrics, strict=True) if metrics else ((), (), ())
    store.sql.register(
        "metrics",
        pa.table(
            {
                "run_id": pa.array(ids, pa.string()),
                "metric": pa.array(names, pa.string()),
                "value": pa.array(values, pa.float64()),
            }
        ),
    )
    store.sql.register("chosen", _chosen(store, request.runs))
    try:
        written = []
        for table in _TABLES:
            if table != "examples" or request.texts:
                written += _table(store, table, request)
        return written
    except OSError as error:
        raise StoreError(f"{request.folder}: cannot be written: {error.strerror or error}") from None
    finally:
        store.sql.unregister("metrics")
        store.sql.unregister("chosen")


def _chosen(store: Store, runs: Collection[str] | None) -> pa.Table:
    """(id, dataset) of the runs to write; where all are, every data set too, with or without a run."""
    found = store.sql.execute("SELECT id, dataset FROM runs").fetchall()
    rows = [(run, dataset) for run, dataset in found if runs is None or run in runs]
    if runs is None:
        rows += [("", key) for (key,) in store.sql.execute("SELECT key FROM datasets").fetchall()]
    ids, datasets = zip(*rows, strict=True) if rows else ((), ())
    return pa.table({"id": pa.array(ids, pa.string()), "dataset": pa.array(datasets, pa.int32())})


def clear_night(request: ExportRequest, keep: Collection[Path]) -> None:
    """Remove what an earlier export of the same night and name wrote and this one (`keep`) did not. Parquet only."""
    for table in _TABLES:
        for path in (request.folder / table / f"night={request.night}").rglob(f"{request.name}.parquet"):
            if path not in keep:
                path.unlink(missing_ok=True)


def _table(store: Store, table: str, request: ExportRequest) -> list[Path]:
    ending, options = FORMATS[request.form]
    query = _TABLES[table]
    if request.form != "parquet":
        return [_copy(store, query, request.folder / f"{table}.{ending}", options)]
    night = request.folder / table / f"night={request.night}"
    if table not in ("rewards", "examples"):
        return [_copy(store, query, night / f"{request.name}.parquet", options)]
    chosen = "SELECT DISTINCT task FROM datasets WHERE key IN (SELECT dataset FROM chosen) ORDER BY task"
    tasks = store.sql.execute(chosen).fetchall()
    return [
        _copy(
            store,
            # the folder's name carries the task
            f"SELECT * EXCLUDE (task) FROM ({query}) WHERE task = '{task.replace(chr(39), chr(39) * 2)}'",
            night / f"task={quote(task, safe='')}" / f"{request.name}.parquet",
            options,
        )
        for (task,) in tasks
    ]


def _copy(store: Store, query: str, path: Path, options: str) -> Path:
    """One file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    quoted = str(part.absolute()).replace("'", "''")
    try:
        store.sql.execute(f"COPY ({query}) TO '{quoted}' ({options})").fetchall()
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except duckdb.Error as error:
        raise explain(path, error) from None
    finally:
        part.unlink(missing_ok=True)
    return path
