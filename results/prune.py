"""Retention: which runs' per-example rows, and which nights' exported ones, may go; and letting them go.

Only runs that the caller names are dropped, never one that is also to be kept, and a reward that any remaining run
uses stays. Their summaries (metrics, intervals) live in the history's runs, metrics and nights, which nothing here
touches.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from results.records import StoreError
from results.store import Store

PER_EXAMPLE = ("rewards", "examples")  # tables of the export that have a row for each example

_GONE = """
CREATE OR REPLACE TEMP TABLE gone AS
    SELECT r.key, r.candidate, r.protocol, r.dataset FROM runs r WHERE r.id IN (SELECT id FROM incoming)"""
# A reward goes when some dropped run has it and no remaining run does.
_LOOSE = """
CREATE OR REPLACE TEMP TABLE loose AS
    SELECT DISTINCT g.candidate, g.protocol, l.example FROM gone g JOIN dataset_examples l ON l.dataset = g.dataset
    ANTI JOIN (
        SELECT r.candidate, r.protocol, l.example FROM runs r JOIN dataset_examples l ON l.dataset = r.dataset
        WHERE r.key NOT IN (SELECT key FROM gone)) kept USING (candidate, protocol, example)"""
_SAME = "(t.candidate, t.protocol, t.example) = (x.candidate, x.protocol, x.example)"
_DROP = (
    f"DELETE FROM rewards t USING loose x WHERE {_SAME}",
    f"DELETE FROM other_rewards t USING loose x WHERE {_SAME}",
    "DELETE FROM sessions WHERE run IN (SELECT key FROM gone)",
    "DELETE FROM runs WHERE key IN (SELECT key FROM gone)",
    "DELETE FROM candidates WHERE key IN (SELECT candidate FROM gone)"
    " AND key NOT IN (SELECT candidate FROM runs) AND key NOT IN (SELECT candidate FROM rewards)",
    "DELETE FROM dataset_examples WHERE dataset IN (SELECT dataset FROM gone)"
    " AND dataset NOT IN (SELECT dataset FROM runs)",
    "DELETE FROM datasets WHERE key IN (SELECT dataset FROM gone) AND key NOT IN (SELECT dataset FROM runs)",
    "DELETE FROM examples WHERE key IN (SELECT example FROM loose)"
    " AND key NOT IN (SELECT example FROM dataset_examples) AND key NOT IN (SELECT example FROM rewards)",
)


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What would go from a database."""

    runs: int
    rewards: int
    examples: int  # distinct (candidate, protocol, example)


def plan_store(store: Store, drop: Collection[str], keep: Collection[str]) -> StorePlan:
    """Count what `prune_store` with the same arguments (ids of runs) would delete; changes nothing."""
    _mark(store, drop, keep)
    row = store.one(
        "SELECT (SELECT count(*) FROM gone),"
        f" (SELECT count(*) FROM rewards t JOIN loose x ON {_SAME}), (SELECT count(*) FROM loose)"
    )
    return StorePlan(*map(int, row or (0, 0, 0)))


def prune_store(store: Store, drop: Collection[str], keep: Collection[str]) -> StorePlan:
    """Delete, in one transaction, the runs `drop` but not `keep` with what nothing else uses; returns what went."""
    done = plan_store(store, drop, keep)
    store.examples.forget()
    with store.transaction():
        for statement in _DROP:
            store.sql.execute(statement)
    if done.runs:
        store.sql.execute("CHECKPOINT")  # gives the space back to the file
    return done


def _mark(store: Store, drop: Collection[str], keep: Collection[str]) -> None:
    """Temporary tables of this connection: they never reach the file."""
    ids = sorted(set(drop) - set(keep))
    store.with_arrow(pa.table({"id": pa.array(ids, pa.string())}), _GONE)
    store.sql.execute(_LOOSE)


def plan_files(history: Path, keep: Collection[str]) -> list[Path]:
    """Folders of an export (harness export, Parquet) with per-example rows of nights that are not in `keep`."""
    found = [path for table in PER_EXAMPLE for path in (history / table).glob("night=*")]
    return sorted(path for path in found if path.is_dir() and path.name.removeprefix("night=") not in keep)


def prune_files(folders: Collection[Path]) -> None:
    """Remove the folders; what a kill leaves is found by the next plan. Raises StoreError."""
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{folder}: cannot be removed ({error.strerror or error})") from None
