"""Pools in the results database: a policy's responses with their labels, which are computed once and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from results.records import StoreError
from results.store import Store


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One response of a pool, in sampling order within its example."""

    example_id: str
    position: int
    text: str
    source: str
    correct: bool | None
    answer: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A labelled pool of one task under a name."""

    task: str
    name: str
    rows: Sequence[PoolRow]
    source: Mapping[str, Any]
    settings: Mapping[str, str] = field(default_factory=dict)


def save_pool(store: Store, pool: PoolRecord) -> None:
    """Store a pool whole; the same name with the same responses is refreshed, with others refused (StoreError)."""
    known = load_pool(store, pool.task, pool.name)
    if known is not None and [(r.example_id, r.text) for r in known.rows] != [
        (r.example_id, r.text) for r in pool.rows
    ]:
        raise StoreError(f"{pool.task} already has another pool named '{pool.name}': choose another --name")
    columns = {
        "example_id": pa.array([r.example_id for r in pool.rows], pa.string()),
        "position": pa.array([r.position for r in pool.rows], pa.int32()),
        "text": pa.array([r.text for r in pool.rows], pa.string()),
        "source": pa.array([r.source for r in pool.rows], pa.string()),
        "correct": pa.array([r.correct for r in pool.rows], pa.bool_()),
        "answer": pa.array([r.answer for r in pool.rows], pa.string()),
        "reason": pa.array([r.reason for r in pool.rows], pa.string()),
    }
    with store.transaction():
        key = _fresh_key(store, pool)
        store.with_arrow(pa.table(columns), f"INSERT INTO pool_responses SELECT {key}, * FROM incoming")


def _fresh_key(store: Store, pool: PoolRecord) -> int:
    source, settings = (
        json.dumps(dict(pool.source), sort_keys=True),
        json.dumps(dict(pool.settings), sort_keys=True),
    )
    row = store.sql.execute("SELECT key FROM pools WHERE task = ? AND name = ?", [pool.task, pool.name]).fetchone()
    if row is not None:
        store.sql.execute("DELETE FROM pool_responses WHERE pool = ?", [row[0]])
        store.sql.execute("UPDATE pools SET source = ?, settings = ? WHERE key = ?", [source, settings, row[0]])
        return int(row[0])
    last = store.sql.execute("SELECT coalesce(max(key), 0) FROM pools").fetchone()
    key = int(last[0]) + 1 if last else 1
    store.sql.execute("INSERT INTO pools VALUES (?, ?, ?, ?, ?)", [key, pool.task, pool.name, source, settings])
    return key


def pool_names(store: Store, task: str) -> list[str]:
    """Names of a task's stored pools, oldest first."""
    rows = store.sql.execute("SELECT name FROM pools WHERE task = ? ORDER BY key", [task]).fetchall()
    return [name for (name,) in rows]


def load_pool(store: Store, task: str, name: str) -> PoolRecord | None:
    """A stored pool, or None."""
    head = store.sql.execute(
        "SELECT key, source, settings FROM pools WHERE task = ? AND name = ?", [task, name]
    ).fetchone()
    if head is None:
        return None
    rows = store.sql.execute(
        "SELECT example_id, position, text, source, correct, answer, reason FROM pool_responses WHERE pool = ?"
        " ORDER BY rowid",
        [head[0]],
    ).fetchall()
    return PoolRecord(task, name, [PoolRow(*row) for row in rows], json.loads(head[1]), json.loads(head[2]))
