"""Joining two databases: the union of what both measured, whichever is merged into which, and however often.

Rows are matched by content id. Every value that was ever measured for one key is kept: the smallest in `rewards`,
the others in `other_rewards` (a set union, so that order and repetition change nothing); 'harness db check' reports
those that differ by more than rounding. Two pools of one name with different content are both kept: the one whose
content hash is smaller has the name, the other is NAME~HASH.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from results._errors import explain
from results.check import check, conflicts
from results.digest import pool_contents
from results.migrations import check_current
from results.records import StoreError
from results.store import Store, open_store
from results.verdict import run_states, verdict

_KEY = "candidate, protocol, example, response"
# table -> its columns besides key and id
_NAMED = {
    "candidates": "name, kind, detail",
    "protocols": "settings",
    "environments": "detail",
    "examples": "prompt, responses",
    "datasets": "task, outcome, metrics, sources, options, missing, notes, partial",
}


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge added, and what it found twice with different values."""

    added: dict[str, int]  # table -> rows
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    pools: list[str] = field(default_factory=list)  # pools stored under another name


def merge(store: Store, other: Path) -> MergeReport:
    """Bring everything of the database `other` into `store`, in one transaction; `other` is only read.

    Raises StoreError when `other` is the same file, held by a process, damaged, or of another version.
    """
    if other.exists() and other.resolve() == store.path.resolve():
        raise StoreError(f"{other}: a database cannot be merged into itself")
    with open_store(other, read_only=True) as source:
        for finding in check(source):
            if not finding.note:
                raise StoreError(
                    f"{other}: {finding.count} {finding.what}; 'harness db repair --db {other}' first, then merge"
                )
    quoted = str(other.absolute()).replace("'", "''")
    try:
        store.sql.execute(f"ATTACH '{quoted}' AS merge_other (READ_ONLY)")
    except duckdb.Error as error:
        raise explain(other, error) from None
    try:
        check_current(store.sql, "merge_other")
        before = _counts(store)
        with store.transaction():
            _add_named(store)
            _merge_rewards(store)
            _merge_runs(store)
            pools = _merge_pools(store)
        after = _counts(store)
    finally:
        store.sql.execute("DETACH merge_other")
    return MergeReport({table: after[table] - before[table] for table in after}, conflicts(store), pools)


def _counts(store: Store) -> dict[str, int]:
    tables = ("candidates", "examples", "datasets", "rewards", "other_rewards", "runs", "pools")
    return {t: int(store.sql.execute(f"SELECT count(*) FROM main.{t}").fetchall()[0][0]) for t in tables}


def _add_named(store: Store) -> None:
    known = {row[0] for row in store.sql.execute("SELECT id FROM datasets").fetchall()}
    for table, columns in _NAMED.items():
        store.sql.execute(
            f"INSERT INTO {table} SELECT (SELECT coalesce(max(key), 0) FROM {table})"
            f" + row_number() OVER (ORDER BY key), id, {columns} FROM merge_other.{table}"
            f" WHERE id NOT IN (SELECT id FROM {table})"
        )
    new = [
        key for key, id_ in store.sql.execute("SELECT key, id FROM merge_other.datasets").fetchall() if id_ not in known
    ]
    store.sql.execute(
        "INSERT INTO dataset_examples SELECT d.key, l.position, e.key, l.example_id, l.subset, l.stratum, l.weight,"
        " l.cluster, l.labels, l.answers, l.sources, l.reasons FROM merge_other.dataset_examples l"
        " JOIN merge_other.datasets od ON od.key = l.dataset JOIN datasets d ON d.id = od.id"
        " JOIN merge_other.examples oe ON oe.key = l.example JOIN examples e ON e.id = oe.id"
        " WHERE l.dataset IN (SELECT unnest(?::INTEGER[])) ORDER BY d.key, l.position",
        [new],
    )
    store.sql.execute(  # the same examples may have been called partial in one place only
        "UPDATE datasets SET partial = greatest(datasets.partial, o.partial), missing = greatest(datasets.missing,"
        " o.missing) FROM merge_other.datasets o WHERE o.id = datasets.id"
        " AND (datasets.partial < o.partial OR datasets.missing < o.missing)"
    )


def _brought(table: str, columns: str) -> str:
    """Rows of the other database's table under this database's keys."""
    return (
        f"SELECT c.key AS candidate, p.key AS protocol, e.key AS example, {columns} FROM merge_other.{table} o"
        " JOIN merge_other.candidates oc ON oc.key = o.candidate JOIN candidates c ON c.id = oc.id"
        " JOIN merge_other.protocols op ON op.key = o.protocol JOIN protocols p ON p.id = op.id"
        " JOIN merge_other.examples oe ON oe.key = o.example JOIN examples e ON e.id = oe.id"
    )


def _merge_rewards(store: Store) -> None:
    columns = "response, reward, tokens, cut, reason"
    run = store.sql.execute
    run(f"CREATE OR REPLACE TEMP TABLE brought AS {_brought('rewards', columns)}")
    run(  # every value of the keys that have more than one
        f"CREATE OR REPLACE TEMP TABLE several AS WITH every AS ("
        f" SELECT {_KEY}, reward FROM rewards WHERE reward IS NOT NULL AND ({_KEY}) IN (SELECT ({_KEY}) FROM brought)"
        f" UNION SELECT {_KEY}, reward FROM brought WHERE reward IS NOT NULL"
        f" UNION SELECT {_KEY}, reward FROM other_rewards"
        f" UNION {_brought('other_rewards', 'response, reward')})"
        f" SELECT *, min(reward) OVER (PARTITION BY {_KEY}) AS least FROM every"
        f" QUALIFY count(*) OVER (PARTITION BY {_KEY}) > 1"
    )
    run(  # one row a key: scored before failed, then the smallest of everything
        f"CREATE OR REPLACE TEMP TABLE joined AS SELECT {_KEY}, min(reward) AS reward,"
        " min(tokens) FILTER (scored OR NOT any_scored) AS tokens,"
        " bool_or(cut) FILTER (scored OR NOT any_scored) AS cut,"
        " CASE WHEN bool_or(scored) THEN '' ELSE min(reason) END AS reason FROM ("
        "  SELECT *, reward IS NOT NULL AS scored,"
        f"  bool_or(reward IS NOT NULL) OVER (PARTITION BY {_KEY}) AS any_scored"
        f"  FROM (SELECT * FROM rewards WHERE ({_KEY}) IN (SELECT ({_KEY}) FROM brought)"
        f"   UNION ALL SELECT {_KEY}, reward, tokens, cut, reason FROM brought)) GROUP BY ALL"
    )
    run(  # rows that are as they should be stay where they are
        "CREATE OR REPLACE TEMP TABLE changed AS SELECT * FROM joined EXCEPT SELECT * FROM rewards"
    )
    run(f"DELETE FROM rewards WHERE ({_KEY}) IN (SELECT ({_KEY}) FROM changed)")
    run("INSERT INTO rewards SELECT * FROM changed")
    run(f"DELETE FROM other_rewards WHERE ({_KEY}) IN (SELECT ({_KEY}) FROM several)")
    run(f"INSERT INTO other_rewards SELECT {_KEY}, reward FROM several WHERE reward > least")
    for table in ("brought", "several", "joined", "changed"):
        run(f"DROP TABLE {table}")


def _merge_runs(store: Store) -> None:
    mapped = (
        "SELECT o.id, c.key AS candidate, p.key AS protocol, d.key AS dataset, v.key AS environment, o.status,"
        " o.reason, o.seed, o.command, o.started, o.ended, o.key AS theirs FROM merge_other.runs o"
        " JOIN merge_other.candidates oc ON oc.key = o.candidate JOIN candidates c ON c.id = oc.id"
        " JOIN merge_other.protocols op ON op.key = o.protocol JOIN protocols p ON p.id = op.id"
        " JOIN merge_other.datasets od ON od.key = o.dataset JOIN datasets d ON d.id = od.id"
        " JOIN merge_other.environments ov ON ov.key = o.environment JOIN environments v ON v.id = ov.id"
    )
    run = store.sql.execute
    run(
        "INSERT INTO runs SELECT (SELECT coalesce(max(key), 0) FROM runs) + row_number() OVER (ORDER BY theirs),"
        f" * EXCLUDE (theirs) FROM ({mapped}) WHERE id NOT IN (SELECT id FROM runs)"
    )
    run(
        "INSERT INTO sessions SELECT r.key, v.key, s.seed, s.command, s.started, s.ended FROM merge_other.sessions s"
        " JOIN merge_other.runs o ON o.key = s.run JOIN runs r ON r.id = o.id"
        " JOIN merge_other.environments ov ON ov.key = s.environment JOIN environments v ON v.id = ov.id"
        " EXCEPT SELECT * FROM sessions"
    )
    theirs = dict(run("SELECT r.key, o.status FROM runs r JOIN merge_other.runs o ON o.id = r.id").fetchall())
    for state in run_states(store):
        # A run may be interrupted in one place and failed in the other: then it is failed.
        status = "failed" if "failed" in (state["status"], theirs.get(state["key"])) else state["status"]
        wanted = verdict({**state, "status": status})
        if state["lacking"] and state["status"] == "running" == theirs.get(state["key"], "running"):
            continue
        if wanted[0] == state["status"] and state["key"] not in theirs:
            continue
        if wanted != (state["status"], state["reason"]):
            run("UPDATE runs SET status = ?, reason = ? WHERE key = ?", [*wanted, state["key"]])


def _merge_pools(store: Store) -> list[str]:
    """Add the other database's finished pools; unfinished ones are work in progress, not results."""
    ours, theirs = pool_contents(store), pool_contents(store, "merge_other")
    renamed = []
    for (task, name), (key, content) in sorted(theirs.items()):
        held = ours.get((task, name))
        if held is not None and held[1] == content:
            continue
        if held is None:
            target = name
        else:
            apart = f"{name}~{max(content, held[1])[:8]}"
            if content < held[1]:
                if (task, apart) not in ours:
                    _rename(store, held[0], apart)
                    ours[task, apart] = held
                else:  # it is there under that name already
                    _drop(store, held[0])
                target = name
            else:
                target = apart
            renamed.append(f"{task}: {apart}")
        if (task, target) in ours and ours[task, target][1] == content:
            continue
        ours[task, target] = (_copy(store, key, task, target), content)
    return renamed


def _rename(store: Store, key: int, name: str) -> None:
    store.sql.execute("UPDATE pools SET name = ? WHERE key = ?", [name, key])


def _drop(store: Store, key: int) -> None:
    store.sql.execute("DELETE FROM pool_responses WHERE pool = ?", [key])
    store.sql.execute("DELETE FROM pools WHERE key = ?", [key])


def _copy(store: Store, theirs: int, task: str, name: str) -> int:
    unfinished = store.one("SELECT key FROM pools WHERE task = ? AND name = ? AND NOT complete", [task, name])
    if unfinished:
        _drop(store, unfinished[0])
    key = int(store.sql.execute("SELECT coalesce(max(key), 0) + 1 FROM pools").fetchall()[0][0])
    store.sql.execute(
        "INSERT INTO pools SELECT ?, task, ?, source, settings, complete FROM merge_other.pools WHERE key = ?",
        [key, name, theirs],
    )
    store.sql.execute(
        "INSERT INTO pool_responses SELECT ?, * EXCLUDE (pool) FROM merge_other.pool_responses WHERE pool = ?"
        " ORDER BY rowid",
        [key, theirs],
    )
    return key
