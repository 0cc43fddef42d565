"""Putting a database right. `plan` says what would be done, `repair` does exactly that, in one transaction.

Nothing that was measured is dropped where it can be told from damage: removed rows are those that belong to
nothing, or whose text is not what its hash says; the next eval stores and scores them again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from results.check import Finding, bad_keys, check
from results.store import Store
from results.verdict import run_states, verdict


def plan(store: Store) -> list[Finding]:
    """The findings that `repair` would act on."""
    return [finding for finding in check(store) if finding.repair]


def repair(store: Store) -> list[Finding]:
    """Act on every finding of `plan`, all or nothing; returns what was done."""
    done = plan(store)
    store.examples.forget()
    with store.transaction():
        for finding in sorted(done, key=lambda f: list(_REPAIRS).index(f.code)):
            _REPAIRS[finding.code](store)
        if done:
            _statuses(store)  # what was removed above may have been part of a complete run
    return done


def _keys(store: Store, query: str) -> list[Any]:
    return [row[0] for row in store.sql.execute(query).fetchall()]


def _drop_datasets(store: Store, keys: list[int]) -> None:
    for table, column in (("dataset_examples", "dataset"), ("runs", "dataset"), ("datasets", "key")):
        store.sql.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT unnest(?::INTEGER[]))", [keys])
    _drop_lost_sessions(store)


def _drop_lost_sessions(store: Store) -> None:
    store.sql.execute("DELETE FROM sessions WHERE run NOT IN (SELECT key FROM runs)")


def _drop_examples(store: Store) -> None:
    keys = bad_keys(store, "examples")
    datasets = _keys(store, f"SELECT DISTINCT dataset FROM dataset_examples WHERE example IN {_in(keys)}")
    _drop_datasets(store, datasets)
    for table, column in (("rewards", "example"), ("other_rewards", "example"), ("examples", "key")):
        store.sql.execute(f"DELETE FROM {table} WHERE {column} IN {_in(keys)}")


def _drop_protocols(store: Store) -> None:
    keys = bad_keys(store, "protocols")
    for table, column in (
        ("runs", "protocol"), ("rewards", "protocol"), ("other_rewards", "protocol"), ("protocols", "key")
    ):  # fmt: skip
        store.sql.execute(f"DELETE FROM {table} WHERE {column} IN {_in(keys)}")
    _drop_lost_sessions(store)


def _in(keys: list[int]) -> str:
    return f"({', '.join(map(str, [-1, *keys]))})"


def _drop_orphan_links(store: Store) -> None:
    datasets = _keys(
        store,
        "SELECT DISTINCT l.dataset FROM dataset_examples l LEFT JOIN datasets d ON d.key = l.dataset LEFT JOIN"
        " examples e ON e.key = l.example WHERE d.key IS NULL OR e.key IS NULL OR len(l.labels) <> len(e.responses)",
    )
    _drop_datasets(store, datasets)


def _drop_orphan_rewards(store: Store) -> None:
    for table in ("rewards", "other_rewards"):
        store.sql.execute(
            f"DELETE FROM {table} r WHERE candidate NOT IN (SELECT key FROM candidates) OR protocol NOT IN"
            " (SELECT key FROM protocols) OR example NOT IN (SELECT key FROM examples) OR response < 0 OR"
            " response >= (SELECT len(e.responses) FROM examples e WHERE e.key = r.example)"
        )


def _drop_bad_rewards(store: Store) -> None:
    store.sql.execute(
        "DELETE FROM rewards WHERE (reward IS NULL) <> (reason <> '') OR NOT isfinite(coalesce(reward, 0))"
    )


def _join_doubled(store: Store) -> None:
    """One row a key: a scored one before a failure, the smallest value; other values go to other_rewards."""
    key = "candidate, protocol, example, response"
    store.sql.execute(
        f"CREATE OR REPLACE TEMP TABLE doubled AS SELECT * FROM rewards WHERE ({key}) IN"
        f" (SELECT ({key}) FROM rewards GROUP BY {key} HAVING count(*) > 1)"
    )
    store.sql.execute(f"DELETE FROM rewards WHERE ({key}) IN (SELECT ({key}) FROM doubled)")
    store.sql.execute(
        f"INSERT INTO rewards SELECT * FROM doubled QUALIFY row_number() OVER"
        f" (PARTITION BY {key} ORDER BY reward NULLS LAST, tokens, reason) = 1"
    )
    store.sql.execute(
        f"INSERT INTO other_rewards SELECT DISTINCT {key}, d.reward FROM doubled d JOIN rewards r USING ({key})"
        f" WHERE d.reward <> r.reward AND NOT EXISTS (SELECT 1 FROM other_rewards o WHERE o.reward = d.reward AND"
        " (o.candidate, o.protocol, o.example, o.response) = (d.candidate, d.protocol, d.example, d.response))"
    )
    store.sql.execute("DROP TABLE doubled")


def _drop_orphan_runs(store: Store) -> None:
    store.sql.execute(
        "DELETE FROM runs WHERE candidate NOT IN (SELECT key FROM candidates) OR protocol NOT IN"
        " (SELECT key FROM protocols) OR dataset NOT IN (SELECT key FROM datasets)"
        " OR environment NOT IN (SELECT key FROM environments)"
    )
    _drop_lost_sessions(store)


def _drop_pool_rows(store: Store) -> None:
    store.sql.execute("DELETE FROM pool_responses WHERE pool NOT IN (SELECT key FROM pools)")
    store.sql.execute(
        "DELETE FROM pool_responses WHERE rowid NOT IN"
        " (SELECT min(rowid) FROM pool_responses GROUP BY pool, example_id, position)"
    )


def _statuses(store: Store) -> None:
    for state in run_states(store):
        status, reason = verdict(state)
        if state["status"] == "running" or (state["status"] == "complete" and status != "complete"):
            store.sql.execute("UPDATE runs SET status = ?, reason = ? WHERE key = ?", [status, reason, state["key"]])


# In this order: what is removed first may leave orphans that the next ones remove.
_REPAIRS: dict[str, Callable[[Store], None]] = {
    "changed-examples": _drop_examples,
    "changed-protocols": _drop_protocols,
    "orphan-links": _drop_orphan_links,
    "changed-datasets": lambda store: _drop_datasets(store, bad_keys(store, "datasets")),
    "orphan-runs": _drop_orphan_runs,
    "bad-rewards": _drop_bad_rewards,
    "orphan-rewards": _drop_orphan_rewards,
    "doubled-rewards": _join_doubled,
    "pool-rows": _drop_pool_rows,
    "false-complete": _statuses,
    "interrupted": _statuses,
}
