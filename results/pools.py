"""Pools in the results database: a policy's responses with their labels, which are computed once and kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from results._tables import dump
from results.records import StoreError, storable
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
    _refuse_other(store, pool)
    with store.transaction():
        key = _clear(store, pool)
        _insert(store, key, pool.rows)
        store.sql.execute("UPDATE pools SET complete = true WHERE key = ?", [key])


def extend_pool(store: Store, pool: PoolRecord, batches: Iterable[Sequence[PoolRow]]) -> int:
    """Store a pool batch by batch, each committed, so that slow labels survive a kill; returns rows added.

    `pool.rows` are all responses as they came; `batches` yields rows (labelled or still to come) of whole examples.
    Take `pending` for what an interrupted call left to do. The pool can be used once the last batch is in.
    """
    _refuse_other(store, pool)
    with store.transaction():
        key = _find_or_add(store, pool)
    added = 0
    for rows in batches:
        with store.transaction():
            store.sql.execute(
                "DELETE FROM pool_responses WHERE pool = ? AND example_id IN (SELECT unnest(?::VARCHAR[]))",
                [key, sorted({storable(row.example_id) for row in rows})],
            )
            _insert(store, key, rows)
        added += len(rows)
    held = store.one("SELECT count(*) FROM pool_responses WHERE pool = ?", [key])
    if held is None or held[0] != len(pool.rows):
        raise StoreError(f"pool '{pool.name}' of {pool.task} has {held and held[0]} of {len(pool.rows)} responses")
    with store.transaction():
        store.sql.execute("UPDATE pools SET complete = true WHERE key = ?", [key])
    return added


def pending(store: Store, pool: PoolRecord) -> list[PoolRow]:
    """The rows of `pool` whose examples are not stored under its name, or stored with a label still unknown."""
    found = load_pool(store, pool.task, pool.name, complete=False)
    stored = found.rows if found is not None else []
    done = {row.example_id for row in stored} - {row.example_id for row in stored if row.correct is None}
    return [row for row in pool.rows if row.example_id not in done]


def _refuse_other(store: Store, pool: PoolRecord) -> None:
    """One name, one content: stored responses must be those of `pool` (a part of them while it is incomplete)."""
    known = load_pool(store, pool.task, pool.name, complete=False)
    if known is None:
        return
    theirs = {(r.example_id, r.position): r.text for r in known.rows}
    ours = {(r.example_id, r.position): storable(r.text) for r in pool.rows}
    whole = pool.name in pool_names(store, pool.task)
    if (whole and theirs.keys() != ours.keys()) or any(ours.get(at) != text for at, text in theirs.items()):
        raise StoreError(f"{pool.task} already has another pool named '{pool.name}': choose another --name")


def _insert(store: Store, key: int, rows: Sequence[PoolRow]) -> None:
    def texts(values: Iterable[str | None]) -> pa.Array:
        return pa.array([None if v is None else storable(v) for v in values], pa.string())

    columns = {
        "example_id": texts(r.example_id for r in rows),
        "position": pa.array([r.position for r in rows], pa.int32()),
        "text": texts(r.text for r in rows),
        "source": texts(r.source for r in rows),
        "correct": pa.array([r.correct for r in rows], pa.bool_()),
        "answer": texts(r.answer for r in rows),
        "reason": texts(r.reason for r in rows),
    }
    store.with_arrow(pa.table(columns), f"INSERT INTO pool_responses SELECT {key}, * FROM incoming")


def _clear(store: Store, pool: PoolRecord) -> int:
    key = _find_or_add(store, pool)
    store.sql.execute("DELETE FROM pool_responses WHERE pool = ?", [key])
    return key


def _find_or_add(store: Store, pool: PoolRecord) -> int:
    about = [dump(dict(pool.source)), dump(dict(pool.settings))]
    row = store.one("SELECT key FROM pools WHERE task = ? AND name = ?", [pool.task, pool.name])
    if row is not None:
        store.sql.execute("UPDATE pools SET source = ?, settings = ? WHERE key = ?", [*about, row[0]])
        return int(row[0])
    last = store.one("SELECT coalesce(max(key), 0) FROM pools")
    key = int(last[0]) + 1 if last else 1
    store.sql.execute("INSERT INTO pools VALUES (?, ?, ?, ?, ?, false)", [key, pool.task, pool.name, *about])
    return key


def pool_names(store: Store, task: str) -> list[str]:
    """Names of a task's stored pools, oldest first; pools that were interrupted half-way are not among them."""
    rows = store.sql.execute("SELECT name FROM pools WHERE task = ? AND complete ORDER BY key", [task]).fetchall()
    return [name for (name,) in rows]


def load_pool(store: Store, task: str, name: str, *, complete: bool = True) -> PoolRecord | None:
    """A stored pool with its rows in the order they were given, or None; `complete=False` finds half ones too."""
    found = find_pool(store, task, name, complete=complete)
    if found is None:
        return None
    key, about = found
    return replace(about, rows=_rows(store, "WHERE pool = ?", [key]))


def find_pool(store: Store, task: str, name: str, *, complete: bool = True) -> tuple[int, PoolRecord] | None:
    """A stored pool's key and what is known about it, without its rows."""
    head = store.one("SELECT key, source, settings, complete FROM pools WHERE task = ? AND name = ?", [task, name])
    if head is None or (complete and not head[3]):
        return None
    return int(head[0]), PoolRecord(task, name, [], json.loads(head[1]), json.loads(head[2]))


def pool_examples(store: Store, key: int) -> list[str]:
    """Ids of the examples that a pool answers, in the order they were given."""
    query = "SELECT example_id FROM pool_responses WHERE pool = ? GROUP BY example_id ORDER BY min(rowid)"
    return [example_id for (example_id,) in store.sql.execute(query, [key]).fetchall()]


def pool_labelled(store: Store, key: int) -> bool:
    """Whether every response of a pool has a label, or a reason for having none."""
    query = "SELECT 1 FROM pool_responses WHERE pool = ? AND correct IS NULL AND reason = '' LIMIT 1"
    return store.one(query, [key]) is None


def pool_rows(store: Store, key: int, examples: Sequence[str]) -> list[PoolRow]:
    """Rows of some of a pool's examples, in the order they were given."""
    found = "SELECT rowid FROM pool_responses WHERE pool = ? AND example_id IN (SELECT unnest(?::VARCHAR[]))"
    return _rows(store, f"WHERE rowid IN ({found})", [key, list(examples)])  # so that only their texts are read


def _rows(store: Store, which: str, parameters: list[Any]) -> list[PoolRow]:
    columns = "example_id, position, text, source, correct, answer, reason"
    rows = store.sql.execute(f"SELECT {columns} FROM pool_responses {which} ORDER BY rowid", parameters).fetchall()
    return [PoolRow(*row) for row in rows]
