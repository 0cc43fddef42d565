"""Integrity of a database: every block readable, every hash right, every count and key as it must be.

Each check is one entry of `_COUNTS` (rows that must not exist) or one function; a finding says what is wrong, how
often, and what 'harness db repair' does about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from results._errors import explain
from results.bounds import BOUNDS
from results.records import content_key, dataset_key, example_key, link_content
from results.store import Store
from results.verdict import run_states, verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong (or, with `note`, worth knowing) in a database."""

    code: str
    count: int
    what: str
    repair: str = ""  # what repair does, as a clause; "" where there is nothing to do
    note: bool = False


# code -> (what, what repair does, rows that should not exist)
_COUNTS: dict[str, tuple[str, str, str]] = {
    "orphan-rewards": (
        "rewards belong to no known candidate, protocol or response",
        "remove them",
        "SELECT 1 FROM rewards r LEFT JOIN candidates c ON c.key = r.candidate LEFT JOIN protocols p ON"
        " p.key = r.protocol LEFT JOIN examples e ON e.key = r.example"
        " WHERE c.key IS NULL OR p.key IS NULL OR e.key IS NULL OR response < 0 OR response >= len(e.responses)",
    ),
    "bad-rewards": (
        "rewards are neither a finite number nor a failure with its reason",
        "remove them, so that the next eval scores them",
        "SELECT 1 FROM rewards WHERE (reward IS NULL) <> (reason <> '') OR NOT isfinite(coalesce(reward, 0))",
    ),
    "doubled-rewards": (
        "responses have more than one row of rewards",
        "keep one row each, and other values beside it",
        "SELECT 1 FROM rewards GROUP BY candidate, protocol, example, response HAVING count(*) > 1",
    ),
    "orphan-links": (
        "examples of data sets are not in the database",
        "remove those data sets and their runs; the next eval stores them again",
        "SELECT 1 FROM dataset_examples l LEFT JOIN datasets d ON d.key = l.dataset LEFT JOIN examples e"
        " ON e.key = l.example WHERE d.key IS NULL OR e.key IS NULL OR len(l.labels) <> len(e.responses)",
    ),
    "orphan-runs": (
        "runs have no candidate, protocol, data set or environment",
        "remove the runs (their rewards stay); the next eval writes them again",
        "SELECT 1 FROM runs r LEFT JOIN candidates c ON c.key = r.candidate LEFT JOIN protocols p ON p.key ="
        " r.protocol LEFT JOIN datasets d ON d.key = r.dataset LEFT JOIN environments v ON v.key = r.environment"
        " WHERE c.key IS NULL OR p.key IS NULL OR d.key IS NULL OR v.key IS NULL",
    ),
    "pool-rows": (
        "responses of pools are doubled or belong to no pool",
        "remove the doubled and ownerless ones",
        "SELECT 1 FROM pool_responses r LEFT JOIN pools p ON p.key = r.pool WHERE p.key IS NULL"
        " UNION ALL SELECT 1 FROM pool_responses GROUP BY pool, example_id, position HAVING count(*) > 1",
    ),
}


def check(store: Store) -> list[Finding]:
    """All findings, errors first. Raises StoreError when the file itself cannot be read."""
    _read_everything(store)
    found = [*_counted(store), *_hashes(store), *_statuses(store), *_notes(store)]
    return sorted(found, key=lambda finding: finding.note)


def bad_keys(store: Store, table: str) -> list[int]:
    """Keys of examples, protocols or data sets whose content does not hash to their id."""
    return {"examples": _bad_examples, "protocols": _bad_protocols, "datasets": _bad_datasets}[table](store)


def conflicts(store: Store) -> list[dict[str, Any]]:
    """Keys with rewards that differ by more than rounding: both values, and where they belong."""
    rows = store.sql.execute(
        f"SELECT c.name, e.id, o.response, r.reward, o.reward {_APART} ORDER BY c.id, p.id, e.id, o.response, o.reward"
    ).fetchall()
    names = ("candidate", "example", "response", "kept", "other")
    return [dict(zip(names, row, strict=True)) for row in rows]


def conflicts_by_run(store: Store) -> dict[str, int]:
    """Run id -> how many of its rewards are in conflict; runs without any are left out."""
    rows = store.sql.execute(
        f"SELECT n.id, count(*) {_APART.replace('WHERE', _RUNS + ' WHERE')} GROUP BY n.id ORDER BY n.id"
    ).fetchall()
    return dict(rows)


# Rewards of one key that differ by more than the bound of their dtype (results.bounds).
_APART = (
    "FROM other_rewards o JOIN rewards r USING (candidate, protocol, example, response)"
    " JOIN candidates c ON c.key = o.candidate JOIN protocols p ON p.key = o.protocol"
    " JOIN examples e ON e.key = o.example"
    " JOIN (SELECT candidate, protocol, stddev_samp(reward) AS sd FROM rewards GROUP BY ALL) s"
    " ON s.candidate = o.candidate AND s.protocol = o.protocol"
    " WHERE r.reward IS NOT NULL AND abs(r.reward - o.reward) > coalesce(s.sd, 0) *"
    " CASE json_extract_string(p.settings, '$.dtype')"
    + "".join(f" WHEN '{dtype}' THEN {bound!r}" for dtype, bound in BOUNDS.items())
    + " ELSE 0 END"
)
_RUNS = (
    "JOIN dataset_examples l ON l.example = o.example"
    " JOIN runs n ON n.dataset = l.dataset AND n.candidate = o.candidate AND n.protocol = o.protocol"
)


def _read_everything(store: Store) -> None:
    """Read every column of every table, so that a damaged block is found now and not in a year."""
    try:
        tables = store.sql.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall()
        for (table,) in tables:
            store.sql.execute(f'SELECT bit_xor(hash(t)) FROM "{table}" t').fetchall()
    except duckdb.Error as error:
        raise explain(store.path, error) from None


def _counted(store: Store) -> Iterator[Finding]:
    for code, (what, repair, rows) in _COUNTS.items():
        count = _one(store, f"SELECT count(*) FROM ({rows})")
        if count:
            yield Finding(code, count, what, repair)


def _hashes(store: Store) -> Iterator[Finding]:
    removed = "remove them with what depends on them; the next eval stores and scores them again"
    for table, what in (
        ("examples", "examples have other texts than their id says"),
        ("protocols", "protocols have other settings than their id says"),
        ("datasets", "data sets have other rows or labels than their id says"),
    ):
        count = len(bad_keys(store, table))
        if count:
            yield Finding(f"changed-{table}", count, what, removed)


def _statuses(store: Store) -> Iterator[Finding]:
    states = run_states(store)
    wrong = [s for s in states if s["status"] == "complete" and verdict(s)[0] != "complete"]
    if wrong:
        yield Finding("false-complete", len(wrong), "runs are called complete and are not", "say what they are")
    stopped = [s for s in states if s["status"] == "running"]
    if stopped:
        text = "runs were stopped before their end (the same eval resumes them)"
        yield Finding("interrupted", len(stopped), text, "mark them as what they are", note=True)


def _notes(store: Store) -> Iterator[Finding]:
    pools = _one(store, "SELECT count(*) FROM pools WHERE NOT complete")
    if pools:
        yield Finding("half-pools", pools, "pools are not finished (the same import resumes them)", note=True)
    apart = conflicts(store)
    if apart:
        text = "rewards differ between merged databases by more than rounding (both values are kept)"
        yield Finding("conflicts", len(apart), text, note=True)


def _one(store: Store, query: str) -> int:
    return int(store.sql.execute(query).fetchall()[0][0])


def _bad_examples(store: Store) -> list[int]:
    rows = store.sql.execute("SELECT key, id, prompt, responses FROM examples")
    bad: list[int] = []
    while batch := rows.fetchmany(2000):
        bad += [key for key, id_, prompt, responses in batch if example_key(json.loads(prompt), responses) != id_]
    return bad


def _bad_protocols(store: Store) -> list[int]:
    rows = store.sql.execute("SELECT key, id, settings FROM protocols").fetchall()
    return [key for key, id_, settings in rows if content_key(json.loads(settings)) != id_]


def _bad_datasets(store: Store) -> list[int]:
    marks: dict[int, bool | None] = {1: True, 0: False, -1: None}
    heads = store.sql.execute("SELECT key, id, task, outcome, metrics FROM datasets").fetchall()
    bad = []
    for key, id_, task, outcome, metrics in heads:
        links = store.sql.execute(
            "SELECT example_id, e.id, labels, answers, subset, stratum, cluster FROM dataset_examples l"
            " JOIN examples e ON e.key = l.example WHERE dataset = ? ORDER BY position",
            [key],
        ).fetchall()
        rows = [link_content(i, e, [marks[x] for x in y], a, s, t, c) for i, e, y, a, s, t, c in links]
        if dataset_key(task, outcome, rows, json.loads(metrics)) != id_:
            bad.append(key)
    return bad
